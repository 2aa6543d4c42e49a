"""The tables of users' badges and of the counters that give them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from store.models.base import Base, Created, Dated, Identified, Json, one_of
from store.values.badges import AuditAction, InstanceStatus, OnchainStatus


class NFTInstance(Identified, Dated, Base):
    """One user's badge of one type at one level."""

    __tablename__ = "nft_instance"
    __table_args__ = (
        # A level that somebody holds cannot be removed from the catalog.
        ForeignKeyConstraint(
            ["type_id", "current_level"], ["nft_level_rule.type_id", "nft_level_rule.level"]
        ),
        one_of("status", InstanceStatus),
        one_of("onchain_status", OnchainStatus),
        CheckConstraint("onchain_token_id ~ '^-?[0-9]+:[0-9a-f]{64}$'", name="onchain_token_id"),
        Index(None, "user_id"),
        Index(None, "type_id"),
        # Whether anybody holds a level is asked while batches wait, and by the foreign key above.
        Index(None, "type_id", "current_level"),
        Index(None, "user_id", "type_id"),
        Index(
            "nft_instance_one_active_key",
            "user_id",
            "type_id",
            unique=True,
            postgresql_where=text(f"status = '{InstanceStatus.ACTIVE}'"),
        ),
        UniqueConstraint("user_id", "type_id", "ordinal"),
        CheckConstraint("ordinal >= 1", name="ordinal"),
    )

    type_id: Mapped[UUID] = mapped_column(ForeignKey("nft_type.id"))
    user_id: Mapped[UUID]
    current_level: Mapped[int]
    status: Mapped[str] = mapped_column(String(16), server_default=InstanceStatus.ACTIVE.value)
    onchain_token_id: Mapped[str | None] = mapped_column(unique=True)
    onchain_status: Mapped[str] = mapped_column(
        String(16), server_default=OnchainStatus.NOT_MINTED.value
    )
    # The column is called metadata, as in the seed; the attribute cannot be: SQLAlchemy keeps that
    # name for itself.
    instance_metadata: Mapped[Json] = mapped_column("metadata", server_default=text("'{}'"))
    external_id: Mapped[str | None] = mapped_column(unique=True)
    source_service: Mapped[str]
    source_event_id: Mapped[str | None]
    tenant_id: Mapped[UUID]  # +
    # + 1 for the first badge of the type, 2 for one awarded after that was revoked or burned.
    ordinal: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))


class NFTProgress(Identified, Dated, Base):
    """One user's counters for one type."""

    __tablename__ = "nft_progress"
    __table_args__ = (
        UniqueConstraint("user_id", "type_id"),
        # Whether anybody has progress for a type is asked while batches wait.
        Index(None, "type_id"),
        {
            "postgresql_with": {"fillfactor": 70}
        },  # counters are rewritten in place (HOT) as long as the page has room
    )

    type_id: Mapped[UUID] = mapped_column(ForeignKey("nft_type.id"))
    user_id: Mapped[UUID]
    counters: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    last_event_at: Mapped[datetime]


class ProgressMember(Base):
    """+ An id that a distinct or undoable counter has seen for a user, whichever came first."""

    __tablename__ = "progress_member"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    # counter_definition.id, without a foreign key: checking one costs more than the insert
    # (docs/adr/0008-batch-merge.md), and the catalog refuses to remove a counter that has members.
    counter_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    # By bytes, whatever the database's locale is: comparing as people sort costs several times as
    # much, and an operating system that sorts otherwise after an update would break the index.
    member: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    posted: Mapped[bool]
    undone: Mapped[bool] = mapped_column(server_default=text("false"))


class SilencedBadge(Base):
    """+ What a silent job has left unsaid about a badge (docs/data-model.md, Silence)."""

    __tablename__ = "silenced_badge"
    __table_args__ = (
        CheckConstraint(
            "message IS NULL OR message IN ('badge.created', 'badge.leveled_up')", name="message"
        ),
        CheckConstraint("message IS NOT NULL OR mint", name="left_out"),
    )

    nft_instance_id: Mapped[UUID] = mapped_column(ForeignKey("nft_instance.id"), primary_key=True)
    message: Mapped[str | None] = mapped_column(String(128))  # what was not published
    mint: Mapped[bool]  # a level asked for a token, and nobody was asked


class NFTAuditLog(Identified, Created, Base):
    """The history of all that matters; the database refuses to change, delete or truncate it."""

    __tablename__ = "nft_audit_log"
    __table_args__ = (
        one_of("action", AuditAction),
        Index(None, "nft_instance_id"),
    )

    nft_instance_id: Mapped[UUID | None]  # null for a type's own history
    action: Mapped[str] = mapped_column(String(32))
    actor_service: Mapped[str]
    details: Mapped[Json] = mapped_column(server_default=text("'{}'"))

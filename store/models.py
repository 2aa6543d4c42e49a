"""Every table, typed. The seed's entities keep their names and fields.

What is ours beside them is marked `+`.

Statements longer than a line or two are SQL texts in the modules that own them; this file is the
one place that says which columns, constraints and indexes exist. The migration in store/migrations
is generated from it, and a test holds both equal.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from store.values import (
    AchievementStatus,
    AuditAction,
    Category,
    CommandType,
    CounterKind,
    HoldReason,
    InstanceStatus,
    JobState,
    MessageKind,
    MessageStatus,
    OnchainPolicy,
    OnchainStatus,
    OutboxType,
    PartitionAction,
    PauseReason,
    Rarity,
    Reason,
    TaskEvent,
    TaskOperation,
    TaskStatus,
    Visibility,
)

Json = dict[str, Any]


class Base(DeclarativeBase):
    """Naming and types shared by all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map: ClassVar = {
        UUID: postgresql.UUID(as_uuid=True),
        datetime: DateTime(timezone=True),
        Json: JSONB,
        str: Text,
        bytes: LargeBinary,
    }


def one_of(column: str, enum: type[StrEnum], *, nullable: bool = False) -> CheckConstraint:
    """Return the CHECK that holds `column` to the values of `enum`."""
    values = ", ".join(f"'{member.value}'" for member in enum)
    condition = f"{column} IN ({values})"
    return CheckConstraint(
        f"{column} IS NULL OR {condition}" if nullable else condition, name=column
    )


class _Identified:
    id: Mapped[UUID] = mapped_column(
        primary_key=True, default=uuid4, server_default=func.gen_random_uuid(), sort_order=-1
    )


class _Created:
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=1)


class _Dated(_Created):
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=2)


class NFTType(_Identified, _Dated, Base):
    """A kind of badge."""

    __tablename__ = "nft_type"
    __table_args__ = (
        one_of("category", Category),
        one_of("default_onchain_policy", OnchainPolicy),
        one_of("onchain_min_rarity", Rarity),
    )

    code: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(255))
    description: Mapped[str]
    category: Mapped[str] = mapped_column(String(32))
    base_image_url: Mapped[str]
    is_onchain_capable: Mapped[bool]
    default_onchain_policy: Mapped[str] = mapped_column(String(32))
    metadata_schema: Mapped[Json]
    onchain_min_rarity: Mapped[str] = mapped_column(
        String(16), server_default=Rarity.RARE.value
    )  # +
    i18n: Mapped[Json] = mapped_column(server_default=text("'{}'"))  # +


class NFTLevelRule(_Identified, _Dated, Base):
    """A step of a type, with its conditions."""

    __tablename__ = "nft_level_rule"
    __table_args__ = (
        UniqueConstraint("type_id", "level"),
        UniqueConstraint("type_id", "order"),
        one_of("rarity", Rarity),
        one_of("onchain_policy", OnchainPolicy, nullable=True),
        CheckConstraint("level >= 1", name="level"),
    )

    type_id: Mapped[UUID] = mapped_column(ForeignKey("nft_type.id"))
    level: Mapped[int]
    title: Mapped[str] = mapped_column(String(255))
    description: Mapped[str]
    rarity: Mapped[str] = mapped_column(String(16))
    image_url: Mapped[str | None]
    conditions: Mapped[Json]
    auto_mint_onchain: Mapped[bool]
    order: Mapped[int]
    onchain_policy: Mapped[str | None] = mapped_column(String(32))  # + null = the type's
    i18n: Mapped[Json] = mapped_column(server_default=text("'{}'"))  # +


class NFTInstance(_Identified, _Dated, Base):
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


class NFTProgress(_Identified, _Dated, Base):
    """One user's counters for one type."""

    __tablename__ = "nft_progress"
    __table_args__ = (
        UniqueConstraint("user_id", "type_id"),
        {
            "postgresql_with": {"fillfactor": 70}
        },  # counters are rewritten in place (HOT) as long as the page has room
    )

    type_id: Mapped[UUID] = mapped_column(ForeignKey("nft_type.id"))
    user_id: Mapped[UUID]
    counters: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    last_event_at: Mapped[datetime]


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


class NFTMintQueue(_Identified, _Dated, Base):
    """A task for the chain: mint or burn one instance's token."""

    __tablename__ = "nft_mint_queue"
    __table_args__ = (
        one_of("status", TaskStatus),
        one_of("operation", TaskOperation),
        one_of("hold_reason", HoldReason, nullable=True),
        CheckConstraint("hold_reason IS NULL OR status = 'pending'", name="held_pending"),
        CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease"),
        CheckConstraint("status <> 'sent' OR chain_message_id IS NOT NULL", name="sent_message"),
        CheckConstraint(
            "operation <> 'mint' OR status NOT IN ('sent', 'confirmed')"
            " OR (token_index IS NOT NULL AND recipient IS NOT NULL)",
            name="assigned",
        ),
        Index(
            "nft_mint_queue_one_open_key",
            "nft_instance_id",
            "operation",
            unique=True,
            postgresql_where=text("status IN ('pending', 'sent')"),
        ),
        Index(
            "nft_mint_queue_token_index_key",
            "chain_collection_id",
            "token_index",
            unique=True,
            postgresql_where=text("operation = 'mint' AND token_index IS NOT NULL"),
        ),
        Index(
            "nft_mint_queue_due_idx",
            "type_id",
            "operation",
            "priority",
            "run_after",
            postgresql_where=text("status = 'pending' AND hold_reason IS NULL"),
        ),
        Index(
            "nft_mint_queue_held_idx",
            "hold_reason",
            "created_at",
            "id",
            postgresql_where=text("hold_reason IS NOT NULL"),
        ),
        Index(
            "nft_mint_queue_failed_burn_idx",
            "nft_instance_id",
            postgresql_where=text("status = 'failed' AND operation = 'burn'"),
        ),
        Index(None, "chain_message_id"),
        Index(None, "nft_instance_id"),
    )

    nft_instance_id: Mapped[UUID] = mapped_column(ForeignKey("nft_instance.id"))
    type_id: Mapped[UUID]  # + the badge's, written by a trigger
    status: Mapped[str] = mapped_column(String(16), server_default=TaskStatus.PENDING.value)
    retry_count: Mapped[int] = mapped_column(server_default=text("0"))
    last_error: Mapped[str | None]
    operation: Mapped[str] = mapped_column(String(16), server_default=TaskOperation.MINT.value)  # +
    recipient: Mapped[str | None]  # + the owner's raw address, written at the first signature
    chain_collection_id: Mapped[UUID | None] = mapped_column(ForeignKey("chain_collection.id"))  # +
    token_index: Mapped[int | None] = mapped_column(BigInteger)  # + of a burn: the token's
    chain_message_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("chain_message.id")
    )  # + the message in force
    run_after: Mapped[datetime] = mapped_column(server_default=func.now())  # +
    hold_reason: Mapped[str | None] = mapped_column(String(16))  # +
    priority: Mapped[int] = mapped_column(
        SmallInteger, server_default=text("0")
    )  # + lower goes first
    lease_token: Mapped[UUID | None]  # +
    lease_expires_at: Mapped[datetime | None]  # +


class NFTAuditLog(_Identified, _Created, Base):
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


class AchievementCategory(_Identified, _Dated, Base):
    """A tenant's category of achievements."""

    __tablename__ = "achievement_category"
    __table_args__ = (
        UniqueConstraint("tenant_id", "slug"),
        Index(None, "tenant_id"),
        Index(None, "slug"),
    )

    tenant_id: Mapped[UUID]
    slug: Mapped[str] = mapped_column(String(64))
    name_i18n: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    order: Mapped[int] = mapped_column(server_default=text("0"))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))


class Achievement(_Identified, _Dated, Base):
    """Something that a person is granted by an issuer."""

    __tablename__ = "achievement"
    __table_args__ = (
        one_of("status", AchievementStatus),
        Index(None, "tenant_id"),
        Index(None, "category_id"),
    )

    tenant_id: Mapped[UUID]
    name_i18n: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    description: Mapped[str]
    category_id: Mapped[UUID] = mapped_column(
        ForeignKey("achievement_category.id", ondelete="RESTRICT")
    )
    status: Mapped[str] = mapped_column(String(16))
    images: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    created_by: Mapped[UUID]


class AchievementGrant(_Identified, _Created, Base):
    """An achievement granted to a person."""

    __tablename__ = "achievement_grant"
    __table_args__ = (
        one_of("visibility", Visibility),
        CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="revoked"),
        Index(None, "tenant_id"),
        Index(None, "recipient_id"),
        Index(None, "issuer_id"),
        Index(
            "achievement_grant_one_standing_key",
            "achievement_id",
            "recipient_id",
            "issuer_id",
            unique=True,
            postgresql_where=text("revoked_at IS NULL"),
        ),
    )

    tenant_id: Mapped[UUID]
    achievement_id: Mapped[UUID] = mapped_column(ForeignKey("achievement.id", ondelete="CASCADE"))
    recipient_id: Mapped[UUID]
    issuer_id: Mapped[UUID]
    reason: Mapped[str]
    visibility: Mapped[str] = mapped_column(String(16))
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[UUID | None]


class OutboxMessage(_Identified, Base):
    """A message to publish, written in the transaction of the change that it tells of."""

    __tablename__ = "outbox_message"
    __table_args__ = (
        one_of("event_type", OutboxType),
        UniqueConstraint("user_id", "seq"),
        Index(None, "tenant_id"),
        Index(
            "outbox_message_unpublished_idx",
            "user_id",
            "seq",
            postgresql_where=text("published_at IS NULL"),
        ),
    )

    tenant_id: Mapped[UUID]
    event_type: Mapped[str] = mapped_column(String(128))
    payload: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    occurred_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    user_id: Mapped[UUID]  # +
    seq: Mapped[int] = mapped_column(BigInteger)  # + the user's own order, from outbox_sequence


class OutboxSequence(Base):
    """+ The last seq a user was given.

    A row locked to the end of the transaction is in commit order; a sequence is not.
    """

    __tablename__ = "outbox_sequence"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    last_seq: Mapped[int] = mapped_column(BigInteger)


class OffsetLedger(Base):
    """+ How far a partition is counted.

    Written with the counters, so both are true or neither is.
    """

    __tablename__ = "offset_ledger"
    __table_args__ = (CheckConstraint("next_offset >= 0", name="next_offset"),)

    cluster_id: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True)
    next_offset: Mapped[int] = mapped_column(BigInteger)
    last_offset: Mapped[int | None] = mapped_column(BigInteger)
    last_timestamp_ms: Mapped[int | None] = mapped_column(
        BigInteger
    )  # Kafka's, of the record at last_offset
    # Kafka's; null: not known yet, or the brokers tell none
    topic_id: Mapped[UUID | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PartitionPause(Base):
    """+ Partitions that are not read on before an operator decides."""

    __tablename__ = "paused_partition"
    __table_args__ = (one_of("reason", PauseReason),)

    cluster_id: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True)
    offset: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str]
    skip_to: Mapped[int | None] = mapped_column(BigInteger)
    # of the topic that was made anew; a skip takes it over
    topic_id: Mapped[UUID | None]
    paused_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CollectionDecision(Base):
    """+ What operators let go on after a stop: which type's collection, who, when and why."""

    __tablename__ = "collection_decision"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    type_code: Mapped[str] = mapped_column(String(64))
    stopped_reason: Mapped[str]  # why it was stopped
    reason: Mapped[str | None]
    actor: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PartitionDecision(Base):
    """+ What operators decided about partitions: who, when, from where to where, and why."""

    __tablename__ = "partition_decision"
    __table_args__ = (
        one_of("action", PartitionAction),
        one_of("pause_reason", PauseReason),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    cluster_id: Mapped[str]
    topic: Mapped[str]
    partition: Mapped[int]
    action: Mapped[str] = mapped_column(String(16))
    pause_reason: Mapped[str | None] = mapped_column(String(32))
    from_offset: Mapped[int] = mapped_column(BigInteger)
    to_offset: Mapped[int] = mapped_column(BigInteger)
    topic_id: Mapped[UUID | None]  # that was taken over
    reason: Mapped[str | None]
    actor: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ProcessedEvent(Base):
    """+ The events that were counted, by their identity (docs/data-model.md, Identity).

    A row an event, for ever: the columns are in the order that wastes no byte, 60 a row.
    """

    __tablename__ = "processed_event"
    __table_args__ = (
        Index(
            "processed_event_unheard_idx", "event_key", postgresql_where=text("first_version = 0")
        ),
    )

    event_key: Mapped[UUID] = mapped_column(primary_key=True)
    # catalog_version.id, which never changes: what counters of a later one have not seen. 0 where
    # no counter has listened to it.
    # Without a foreign key, like progress_member.counter_id.
    first_version: Mapped[int]
    fingerprint: Mapped[int]  # of type and subject; 0 = unknown
    occurred_on: Mapped[date]  # the UTC day of the event's time: what a retention deletes by
    silent: Mapped[bool]  # a silent job counted it, and the stream has not brought it since


class DedupeFloor(Base):
    """+ One row: of events before this UTC day the ids may have been forgotten. It only rises.

    The database refuses to lower it, or to take the row away.
    """

    __tablename__ = "dedupe_floor"
    __table_args__ = (CheckConstraint("is_only", name="is_only"),)

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    floor: Mapped[date]


class ProgressMember(Base):
    """+ An id that a distinct or undoable counter has seen for a user, whichever came first."""

    __tablename__ = "progress_member"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    # counter_definition.id, without a foreign key: checking one costs more than the insert
    # (docs/adr/0008-batch-merge.md), and the catalog refuses to remove a counter that has members.
    counter_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    member: Mapped[str] = mapped_column(primary_key=True)
    posted: Mapped[bool]
    undone: Mapped[bool] = mapped_column(server_default=text("false"))


class DeadLetter(Base):
    """+ A message that was rejected, or that PostgreSQL refused, as it came.

    Of one that is too large: how it begins, its length and its hash.
    """

    __tablename__ = "dead_letter"
    __table_args__ = (
        one_of("reason", Reason),
        UniqueConstraint(
            "cluster_id",
            "topic",
            "partition",
            "offset",
            "record_timestamp_ms",
            "content_sha256",
            name="dead_letter_record_key",
        ),
        Index(None, "reason"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    cluster_id: Mapped[str]
    topic: Mapped[str]
    partition: Mapped[int]
    offset: Mapped[int] = mapped_column(BigInteger)
    record_timestamp_ms: Mapped[int] = mapped_column(BigInteger)  # of a file's line: its CRC-32
    key: Mapped[bytes | None]
    value: Mapped[bytes | None]  # where the reason is too_large, how it begins
    value_length: Mapped[int] = mapped_column(BigInteger)  # of the whole value
    value_sha256: Mapped[bytes]  # of the whole value
    content_sha256: Mapped[bytes]  # of key, value and headers: store/fingerprints.py
    headers: Mapped[list[Any]] = mapped_column(
        JSONB, server_default=text("'[]'")
    )  # [[name, base64 or null], ...] in order
    reason: Mapped[str] = mapped_column(String(64))
    detail: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    published_at: Mapped[datetime | None]


class CommandLog(Base):
    """+ Commands that were applied, for ever.

    The same id again is a repetition, with other content a conflict.
    """

    __tablename__ = "command_log"
    __table_args__ = (one_of("type", CommandType),)

    external_id: Mapped[str] = mapped_column(primary_key=True)
    content_hash: Mapped[bytes]  # SHA-256 over type, subject and data
    type: Mapped[str] = mapped_column(String(128))
    nft_instance_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WaitingCommand(Base):
    """+ Commands whose badge or token is not there yet, for a time (docs/data-model.md, Commands).

    What it becomes in vain is a row of dead_letter: those columns are as there.
    """

    __tablename__ = "waiting_command"
    __table_args__ = (
        CheckConstraint("reason IN ('no_such_badge', 'no_token')", name="reason"),
        Index(None, "user_id"),
        Index(None, "expires_at", "external_id"),
    )

    external_id: Mapped[str] = mapped_column(primary_key=True)
    content_hash: Mapped[bytes]  # as of command_log
    user_id: Mapped[UUID]
    command: Mapped[Json]  # as it was read
    silent: Mapped[bool]  # a run that publishes nothing left it: nothing is said of it either
    reason: Mapped[str] = mapped_column(String(64))  # what is missing now
    detail: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    cluster_id: Mapped[str]
    topic: Mapped[str]
    partition: Mapped[int]
    offset: Mapped[int] = mapped_column(BigInteger)
    record_timestamp_ms: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[bytes | None]
    value: Mapped[bytes | None]
    value_length: Mapped[int] = mapped_column(BigInteger)
    value_sha256: Mapped[bytes]
    content_sha256: Mapped[bytes]
    headers: Mapped[list[Any]] = mapped_column(JSONB)


class CatalogVersion(Base):
    """+ A catalog as it was applied; one is current.

    A batch locks the current row FOR SHARE first.
    """

    __tablename__ = "catalog_version"
    __table_args__ = (
        Index(
            "catalog_version_one_current_key",
            "is_current",
            unique=True,
            postgresql_where=text("is_current"),
        ),
    )

    # The greatest before it and one, under the table's lock: a sequence would leave gaps where an
    # apply is rolled back.
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    content_hash: Mapped[bytes]  # SHA-256 over the canonical JSON of `document`
    document: Mapped[Json]  # event types, counters, types, levels: what the worker evaluates
    is_current: Mapped[bool] = mapped_column(Boolean)
    applied_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CatalogJob(Base):
    """+ What follows from a catalog version for users and badges, and how far it is done.

    Written with the version, worked off in slices afterwards; at most one is open.
    """

    __tablename__ = "catalog_job"
    __table_args__ = (
        one_of("state", JobState),
        Index(
            "catalog_job_one_open_key",
            text("(true)"),
            unique=True,
            postgresql_where=text("state IN ('counters', 'levels', 'metadata')"),
        ),
    )

    version: Mapped[int] = mapped_column(
        ForeignKey("catalog_version.id"), primary_key=True, autoincrement=False
    )
    work: Mapped[Json]  # store.catalog_jobs.CatalogWork: which types, which counters
    silent: Mapped[bool] = mapped_column(Boolean)  # no message to others about what it gives
    no_mint: Mapped[bool] = mapped_column(Boolean)  # nor a token by itself
    state: Mapped[str] = mapped_column(String(16))
    # The last user (or badge, for metadata) that is done in this state; null at its begin.
    done_to: Mapped[UUID | None]
    users: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # looked at for levels
    awarded: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    raised: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    rewritten: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Each slice moves it: an open job that stands still has lost its owner.
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CounterDefinition(Base):
    """+ A counter of the catalog.

    The small id keeps progress_member narrow and never changes its meaning.
    """

    __tablename__ = "counter_definition"
    __table_args__ = (one_of("kind", CounterKind),)

    # As catalog_version.id: a smallint would run out by what is rolled back.
    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    event_type: Mapped[str] = mapped_column(String(128))
    field: Mapped[str | None] = mapped_column(String(64))
    filter: Mapped[Json | None]
    undo_event_type: Mapped[str | None] = mapped_column(String(128))
    undo_field: Mapped[str | None] = mapped_column(String(64))


class UserWallet(Base):
    """+ When a user linked and unlinked an address, by the events' own times.

    The latest link that stands receives.
    """

    __tablename__ = "user_wallet"
    __table_args__ = (
        CheckConstraint("linked_at IS NOT NULL OR unlinked_at IS NOT NULL", name="seen"),
    )

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    linked_at: Mapped[datetime | None]
    unlinked_at: Mapped[datetime | None]
    # the form in which it was linked last says: not for the main network
    test_only: Mapped[bool] = mapped_column(server_default=text("false"))


class ChainWallet(_Identified, _Dated, Base):
    """+ The minting wallet (highload-wallet-v3) on one network.

    A database belongs to one network for ever.
    """

    __tablename__ = "chain_wallet"
    __table_args__ = (
        CheckConstraint("length(zero_state_hash) = 32 AND length(public_key) = 32", name="hashes"),
        CheckConstraint(
            "(shut_reason IS NULL) = (shut_until IS NULL)"
            " AND (shut_reason IS NOT NULL OR NOT shut_needs_repair)"
            " AND (shut_needs_repair OR NOT repair_asked)",
            name="shut",
        ),
        # One row: the index over a constant refuses a second network or key.
        Index("chain_wallet_single_key", text("(true)"), unique=True),
    )

    address: Mapped[str]
    public_key: Mapped[bytes]
    subwallet_id: Mapped[int] = mapped_column(BigInteger)
    timeout_s: Mapped[int]
    zero_state_hash: Mapped[bytes]  # the network's root hash of masterchain block 0
    next_query_seq: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0")
    )  # maps to (shift, bit), see minter/ton/highload_wallet.py
    seqno_seen: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0")
    )  # newest masterchain block ever seen
    deployed_at: Mapped[datetime | None]
    # Which database on which server this is: what a restored or promoted one differs in.
    database_epoch: Mapped[str | None]
    server_started_at: Mapped[datetime | None]
    # Logical time: every transaction of the wallet up to it was held against the messages here.
    accounted_lt: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # Nothing is signed while there is a reason, and not before the chain's time passes `until`.
    shut_reason: Mapped[str | None]
    shut_until: Mapped[datetime | None]
    shut_needs_repair: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    repair_asked: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))


class ChainCollection(_Identified, _Dated, Base):
    """+ The contract that a type's tokens belong to."""

    __tablename__ = "chain_collection"
    __table_args__ = (CheckConstraint("next_index >= 0", name="next_index"),)

    type_id: Mapped[UUID] = mapped_column(ForeignKey("nft_type.id"), unique=True)
    chain_wallet_id: Mapped[UUID] = mapped_column(ForeignKey("chain_wallet.id"))
    address: Mapped[str] = mapped_column(unique=True)
    content_uri: Mapped[str]
    item_prefix: Mapped[str]  # the common part of the items' metadata URIs
    next_index: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0")
    )  # the next index to assign
    stopped_reason: Mapped[str | None]  # nothing is signed before a person has looked
    # Why nothing is minted into it: chain and database count differently.
    breaker: Mapped[str | None]
    # Badges that tokens name and that were accepted as unknown: never to be minted again.
    accepted_badges: Mapped[list[UUID]] = mapped_column(
        postgresql.ARRAY(Uuid), server_default=text("'{}'")
    )
    deployed_at: Mapped[datetime | None]


class ChainMessage(_Identified, _Dated, Base):
    """+ A signed external message.

    Committed before it is sent, resent byte for byte until it is resolved.
    """

    __tablename__ = "chain_message"
    __table_args__ = (
        one_of("kind", MessageKind),
        one_of("status", MessageStatus),
        UniqueConstraint("chain_wallet_id", "query_seq"),
        Index(None, "message_hash"),
        Index(None, "chain_collection_id", "query_seq"),
        Index(
            "chain_message_one_unresolved_key",
            "chain_collection_id",
            unique=True,
            postgresql_where=text(f"status = '{MessageStatus.UNRESOLVED}'"),
        ),
    )

    chain_wallet_id: Mapped[UUID] = mapped_column(ForeignKey("chain_wallet.id"))
    chain_collection_id: Mapped[UUID] = mapped_column(ForeignKey("chain_collection.id"))
    kind: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16), server_default=MessageStatus.UNRESOLVED.value)
    query_seq: Mapped[int] = mapped_column(BigInteger)
    signed_at: Mapped[datetime]  # created_at inside the message: chain time, less a margin
    valid_until: Mapped[datetime]  # chain time after which the wallet refuses it
    boc: Mapped[bytes]
    message_hash: Mapped[bytes]  # TEP-467, normalised external-message hash
    send_count: Mapped[int] = mapped_column(server_default=text("0"))
    last_sent_at: Mapped[datetime | None]


class MintTaskEvent(Base):
    """+ A task's own history, one row a decision that changed it."""

    __tablename__ = "mint_task_event"
    __table_args__ = (
        one_of("from_status", TaskStatus, nullable=True),
        one_of("to_status", TaskStatus),
        one_of("event", TaskEvent),
        Index(None, "task_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("nft_mint_queue.id"))
    event: Mapped[str] = mapped_column(String(32))
    from_status: Mapped[str | None] = mapped_column(String(16))
    to_status: Mapped[str] = mapped_column(String(16))
    details: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class NFTLevelAchievement(Base):
    """+ The achievement that reaching a level grants in a tenant."""

    __tablename__ = "nft_level_achievement"

    level_rule_id: Mapped[UUID] = mapped_column(ForeignKey("nft_level_rule.id"), primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    achievement_id: Mapped[UUID] = mapped_column(ForeignKey("achievement.id"))

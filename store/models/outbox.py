"""The tables of what others will be told."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from store.models.base import Base, Identified, Json, one_of
from store.values.outbox import OutboxType


class OutboxMessage(Identified, Base):
    """A message to publish, written in the transaction of the change that it tells of."""

    __tablename__ = "outbox_message"
    __table_args__ = (
        one_of("event_type", OutboxType),
        UniqueConstraint("user_id", "seq"),
        Index(None, "tenant_id"),
        Index(None, "published_at", "occurred_at"),  # the oldest that waits, the last that went out
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

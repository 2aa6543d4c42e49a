"""The tables of a counter's past: what a fill has taken so far, which nobody else looks at."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Text,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from store.models.base import Base, one_of
from store.values.fills import FillState


class CounterFill(Base):
    """+ A counter is given its past, once: the key is what keeps a second fill from counting twice.

    The row of one that is undone goes; that of one that is closed stays.
    """

    __tablename__ = "counter_fill"
    __table_args__ = (
        one_of("state", FillState),
        CheckConstraint("slices_done <= slices", name="slices"),
    )

    counter_id: Mapped[int] = mapped_column(
        SmallInteger,
        ForeignKey("counter_definition.id"),
        primary_key=True,
        autoincrement=False,
    )
    state: Mapped[str] = mapped_column(String(16), server_default=FillState.OPEN.value)
    # How it is closed: no message to others about what it gives, nor a token by itself.
    silent: Mapped[bool] = mapped_column(server_default=text("false"))
    no_mint: Mapped[bool] = mapped_column(server_default=text("false"))
    # The source that is being taken, or was last: processor.history.user_slice.History.digest.
    source_digest: Mapped[bytes | None]
    slices: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    slices_done: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    # That were taken, of all sources.
    events: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # Who have what was taken, and what it gave them.
    users: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    awarded: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    raised: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class FillEvent(Base):
    """+ An event that a fill has taken: until it is closed, no other source brings it once more.

    Without a foreign key, as the two tables below: all three lie under the lock of counter_fill.
    """

    __tablename__ = "fill_event"

    counter_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    event_key: Mapped[UUID] = mapped_column(primary_key=True)  # as processed_event's


class FillProgress(Base):
    """+ What a fill will add to a user's counter; of members they say it."""

    __tablename__ = "fill_progress"

    counter_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    amount: Mapped[Decimal] = mapped_column(Numeric)  # of a max the greatest, else the sum
    latest: Mapped[datetime]  # the time of the latest event


class FillMember(Base):
    """+ An id that a fill will bring to a distinct or undoable counter: as progress_member."""

    __tablename__ = "fill_member"

    counter_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    member: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    posted: Mapped[bool]
    undone: Mapped[bool]

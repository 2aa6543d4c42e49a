"""The table of jobs that count history."""

from sqlalchemy import BigInteger, CheckConstraint, Index, String, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from store.models.base import Base, Dated, Identified, Json, one_of
from store.values.history import HistoryJobKind, HistoryJobState


class HistoryJob(Identified, Dated, Base):
    """+ A job that counts history, slice by slice: what it reads, and how far it is done.

    Written in the transaction of each slice: both are there, or neither.
    """

    __tablename__ = "history_job"
    __table_args__ = (
        one_of("kind", HistoryJobKind),
        one_of("state", HistoryJobState),
        CheckConstraint("done BETWEEN 0 AND slices", name="done"),
        # Two processes that are given the same input work on one job.
        Index(
            "history_job_one_open_key",
            "kind",
            "digest",
            unique=True,
            postgresql_where=text("state = 'open'"),
        ),
    )

    kind: Mapped[str] = mapped_column(String(16))
    digest: Mapped[bytes]  # of the input, the catalog it was read by, and how it was sliced
    sources: Mapped[list[str]] = mapped_column(ARRAY(Text))  # their names, for a person
    options: Mapped[Json]  # what was asked for beside counting
    catalog_version: Mapped[int]  # without a foreign key, like processed_event.first_version
    slices: Mapped[int]
    done: Mapped[int] = mapped_column(server_default=text("0"))  # slices
    # Of the input: its records.
    read: Mapped[int] = mapped_column(BigInteger)
    counted: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # Within the input, and counted before.
    duplicates: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)
    # Places of records whose id is that of another event; they are among the refused.
    conflicts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"))
    # Of each type, how many badges reached a level: {code: {level: badges}}.
    levels: Mapped[Json] = mapped_column(JSONB, server_default=text("'{}'"))
    mints: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # asked for
    state: Mapped[str] = mapped_column(String(16), server_default=HistoryJobState.OPEN.value)

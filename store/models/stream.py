"""The tables of what came by Kafka: how far each partition is counted, what its records were."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Identity,
    Index,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from store.models.base import Base, Json, one_of
from store.values.stream import CommandType, PartitionAction, PauseReason, Reason


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
    # A silent run applied it, and left something unsaid; the stream has not brought it since.
    silent: Mapped[bool] = mapped_column(server_default=text("false"))
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

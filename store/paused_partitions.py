"""paused_partition and partition_decision: what is not read on, and what operators decided.

The worker that finds a fault writes the row; an operator's decision removes it, and the worker
notices. A row whose records were counted after all (the fault was mended from outside, and a new
owner of the partition met it no more) is not shown any more.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from store.engine import Connection
from store.values.names import Partition
from store.values.stream import LedgerEntry, PartitionAction, PausedPartition, PauseReason

# An operator may decide before this is written: /ready and the log name a pause first.
SAVE = text("""
    INSERT INTO paused_partition AS known
           (cluster_id, topic, partition, "offset", reason, detail, skip_to, topic_id)
    SELECT cluster_id, topic, partition, :offset, :reason, :detail, CAST(:skip_to AS bigint),
           CAST(:topic_id AS uuid)
      FROM offset_ledger
     WHERE cluster_id = :cluster_id AND topic = :topic AND partition = :partition
       AND next_offset <= :offset
       FOR SHARE
        ON CONFLICT (cluster_id, topic, partition) DO UPDATE
       SET "offset" = excluded."offset", reason = excluded.reason, detail = excluded.detail,
           skip_to = excluded.skip_to, topic_id = excluded.topic_id,
           paused_at = CASE WHEN (known."offset", known.reason)
                               = (excluded."offset", excluded.reason)
                            THEN known.paused_at ELSE excluded.paused_at END
""")

STILL = text("""
    SELECT topic, partition
      FROM paused_partition
     WHERE cluster_id = :cluster_id
       AND (topic, partition) IN (
           SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])))
""")

LIST = text("""
    SELECT cluster_id, topic, partition, paused."offset", paused.reason, paused.detail,
           paused.skip_to, paused.topic_id, paused.paused_at
      FROM paused_partition AS paused
      JOIN offset_ledger AS ledger USING (cluster_id, topic, partition)
     WHERE ledger.next_offset <= paused."offset"
     ORDER BY cluster_id, topic, partition
""")

PLACES = text("""
    SELECT ledger.cluster_id, ledger.topic, ledger.partition, ledger.next_offset, paused.reason,
           paused.topic_id
      FROM offset_ledger AS ledger
      LEFT JOIN paused_partition AS paused USING (cluster_id, topic, partition)
     WHERE ledger.topic = :topic AND ledger.partition = :partition
       AND ledger.cluster_id = coalesce(:cluster_id, ledger.cluster_id)
     ORDER BY ledger.cluster_id
       FOR UPDATE OF ledger
""")

RESUME = text("""
    DELETE FROM paused_partition
     WHERE cluster_id = :cluster_id AND topic = :topic AND partition = :partition
""")

# Another record may stand before the new place than the one counted last: there is none to compare.
MOVE = text("""
    UPDATE offset_ledger
       SET next_offset = :next_offset, last_offset = NULL, last_timestamp_ms = NULL,
           topic_id = coalesce(CAST(:topic_id AS uuid), topic_id),
           updated_at = clock_timestamp()
     WHERE cluster_id = :cluster_id AND topic = :topic AND partition = :partition
""")

DECIDED = text("""
    INSERT INTO partition_decision
           (cluster_id, topic, partition, action, pause_reason, from_offset, to_offset, topic_id,
            reason, actor)
    VALUES (:cluster_id, :topic, :partition, :action, :pause_reason, :from_offset, :to_offset,
            :topic_id, :reason, :actor)
""")


@dataclass(frozen=True, slots=True)
class PauseRow:
    """A paused partition as the database keeps it."""

    cluster_id: str
    paused: PausedPartition
    paused_at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where a partition's ledger stands; `pause_reason` where it is paused.

    `topic_id` is that of the topic made anew for which it is paused.
    """

    cluster_id: str
    entry: LedgerEntry
    pause_reason: PauseReason | None
    topic_id: UUID | None = None


async def save(conn: Connection, cluster_id: str, paused: PausedPartition) -> None:
    """Write that a partition is paused; the same again keeps its time.

    Nothing is written where its ledger stands behind the fault already: somebody has skipped it.
    """
    await conn.execute(
        SAVE,
        {
            "cluster_id": cluster_id,
            "topic": paused.topic,
            "partition": paused.partition,
            "offset": paused.offset,
            "reason": paused.reason.value,
            "detail": paused.detail.replace("\x00", "\\0"),
            "skip_to": paused.skip_to,
            "topic_id": paused.topic_id,
        },
    )


async def still_paused(
    conn: Connection, cluster_id: str, partitions: Collection[Partition]
) -> set[Partition]:
    """Return which of `partitions` nobody has decided about."""
    if not partitions:
        return set()
    found = await conn.execute(
        STILL,
        {
            "cluster_id": cluster_id,
            "topics": [topic for topic, _ in partitions],
            "partitions": [partition for _, partition in partitions],
        },
    )
    return {(row.topic, row.partition) for row in found}


async def listed(conn: Connection) -> Sequence[PauseRow]:
    """Return all partitions that are paused and not counted since, of every cluster."""
    return [
        PauseRow(
            row.cluster_id,
            PausedPartition(
                row.topic,
                row.partition,
                row.offset,
                PauseReason(row.reason),
                row.detail,
                row.skip_to,
                row.topic_id,
            ),
            row.paused_at,
        )
        for row in await conn.execute(LIST)
    ]


async def lock_places(
    conn: Connection, partition: Partition, cluster_id: str | None
) -> Sequence[Place]:
    """Lock the ledger of `partition` in each cluster, or in the one given; return where it is."""
    topic, number = partition
    found = await conn.execute(
        PLACES, {"topic": topic, "partition": number, "cluster_id": cluster_id}
    )
    return [
        Place(
            row.cluster_id,
            LedgerEntry(row.topic, row.partition, row.next_offset),
            None if row.reason is None else PauseReason(row.reason),
            row.topic_id,
        )
        for row in found
    ]


async def decide(
    conn: Connection, place: Place, *, to: int | None, actor: str, reason: str | None
) -> None:
    """End a pause, move the ledger where `to` says so, and write down who decided it.

    A topic that was made anew is the one that is counted from there on.
    """
    entry = place.entry
    key = {"cluster_id": place.cluster_id, "topic": entry.topic, "partition": entry.partition}
    topic_id = None if to is None else place.topic_id
    if to is not None:
        await conn.execute(MOVE, {**key, "next_offset": to, "topic_id": topic_id})
    await conn.execute(RESUME, key)
    action = PartitionAction.RESUMED if to is None else PartitionAction.SKIPPED
    await conn.execute(
        DECIDED,
        {
            **key,
            "action": action.value,
            "pause_reason": None if place.pause_reason is None else place.pause_reason.value,
            "from_offset": entry.next_offset,
            "to_offset": entry.next_offset if to is None else to,
            "topic_id": topic_id,
            "reason": reason,
            "actor": actor,
        },
    )

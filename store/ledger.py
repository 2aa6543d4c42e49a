"""The offset ledger: how far each partition is counted, written in the transaction that counts.

Both are true or neither is. That makes a record that is delivered twice (a rebalance, a restart, a
worker that was thought dead) count once, whatever Kafka's own committed offset says
(docs/adr/0007-offset-ledger.md).
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import TextClause, text

from store.engine import Connection
from store.values.names import Partition
from store.values.stream import LedgerEntry

READ = text("""
    SELECT topic, partition, next_offset, last_offset, last_timestamp_ms, topic_id
      FROM offset_ledger
     WHERE cluster_id = :cluster_id
       AND (topic, partition) IN (
           SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])))
""")

OPEN = text("""
    INSERT INTO offset_ledger (cluster_id, topic, partition, next_offset)
    SELECT :cluster_id, topic, partition, next_offset
      FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]))
           AS listed (topic, partition, next_offset)
     ORDER BY topic, partition
        ON CONFLICT DO NOTHING
""")

LOCK = text("""
    SELECT topic, partition, next_offset, last_offset, last_timestamp_ms, topic_id
      FROM offset_ledger
     WHERE cluster_id = :cluster_id
       AND (topic, partition) IN (
           SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])))
     ORDER BY topic, partition
       FOR UPDATE
""")

ADVANCE = text("""
    UPDATE offset_ledger AS ledger
       SET next_offset = reached.next_offset,
           last_offset = reached.last_offset,
           last_timestamp_ms = reached.last_timestamp_ms,
           updated_at = clock_timestamp()
      FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                  CAST(:lasts AS bigint[]), CAST(:timestamps AS bigint[]))
           AS reached (topic, partition, next_offset, last_offset, last_timestamp_ms)
     WHERE ledger.cluster_id = :cluster_id
       AND ledger.topic = reached.topic
       AND ledger.partition = reached.partition
""")


# Where nothing was counted nothing is confused. Locked in order, as a batch does.
IDENTIFY = text("""
    WITH unknown AS MATERIALIZED (
         SELECT cluster_id, topic, partition, listed.topic_id
           FROM offset_ledger
           JOIN unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:ids AS uuid[]))
                AS listed (topic, partition, topic_id) USING (topic, partition)
          WHERE cluster_id = :cluster_id
            AND (offset_ledger.topic_id IS NULL
                 OR next_offset = 0 AND offset_ledger.topic_id <> listed.topic_id)
          ORDER BY topic, partition
            FOR UPDATE OF offset_ledger)
  UPDATE offset_ledger AS ledger
     SET topic_id = unknown.topic_id
    FROM unknown
   WHERE ledger.cluster_id = unknown.cluster_id
     AND ledger.topic = unknown.topic
     AND ledger.partition = unknown.partition
""")


async def read(
    conn: Connection, cluster_id: str, partitions: Collection[Partition]
) -> dict[Partition, LedgerEntry]:
    """Return the entries of `partitions`; those that were never read are absent."""
    return await _entries(conn, READ, cluster_id, partitions)


async def open_partitions(
    conn: Connection, cluster_id: str, starts: Mapping[Partition, int]
) -> None:
    """Begin the ledger of partitions that have none at the offset given.

    An entry that exists stays.
    """
    listed = sorted(starts.items())
    await conn.execute(
        OPEN,
        {
            "cluster_id": cluster_id,
            "topics": [topic for (topic, _), _ in listed],
            "partitions": [partition for (_, partition), _ in listed],
            "offsets": [offset for _, offset in listed],
        },
    )


async def identify(conn: Connection, cluster_id: str, ids: Mapping[Partition, UUID]) -> None:
    """Take over the topic's id where the ledger has none yet, or begins.

    Any other one that is there stays.
    """
    listed = sorted(ids.items())
    await conn.execute(
        IDENTIFY,
        {
            "cluster_id": cluster_id,
            "topics": [topic for (topic, _), _ in listed],
            "partitions": [partition for (_, partition), _ in listed],
            "ids": [topic_id for _, topic_id in listed],
        },
    )


async def lock(
    conn: Connection, cluster_id: str, partitions: Collection[Partition]
) -> dict[Partition, LedgerEntry]:
    """Return the entries of `partitions` and hold them to the end of the transaction.

    The fence of a batch.
    """
    if not partitions:
        return {}
    return await _entries(conn, LOCK, cluster_id, partitions)


async def advance(conn: Connection, cluster_id: str, entries: Sequence[LedgerEntry]) -> None:
    """Write how far the locked partitions are counted now; none is fine."""
    if not entries:
        return
    await conn.execute(
        ADVANCE,
        {
            "cluster_id": cluster_id,
            "topics": [entry.topic for entry in entries],
            "partitions": [entry.partition for entry in entries],
            "offsets": [entry.next_offset for entry in entries],
            "lasts": [entry.last_offset for entry in entries],
            "timestamps": [entry.last_timestamp_ms for entry in entries],
        },
    )


async def _entries(
    conn: Connection, statement: TextClause, cluster_id: str, partitions: Collection[Partition]
) -> dict[Partition, LedgerEntry]:
    listed = sorted(partitions)
    rows = await conn.execute(
        statement,
        {
            "cluster_id": cluster_id,
            "topics": [topic for topic, _ in listed],
            "partitions": [partition for _, partition in listed],
        },
    )
    found = [
        LedgerEntry(
            row.topic,
            row.partition,
            row.next_offset,
            row.last_offset,
            row.last_timestamp_ms,
            row.topic_id,
        )
        for row in rows
    ]
    return {entry.key: entry for entry in found}

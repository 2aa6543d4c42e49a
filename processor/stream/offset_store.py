"""The offset ledger, as the consumer reads it after an assignment, and whose topics it is about.

In Kafka Connect's words an offset storage: where to read on is kept beside what was counted, never
in Kafka's own committed offsets (docs/adr/0007-offset-ledger.md).
"""

from collections.abc import Mapping
from uuid import UUID

from ops.clock import SYSTEM_CLOCK, Clock
from ops.lifecycle import Part, Readiness, until_available
from processor.stream.positions import made_anew
from store import ledger
from store.engine import Database, DatabaseUnreachable, TransactionConflict
from store.values.names import Partition
from store.values.stream import LedgerEntry, PausedPartition


class OffsetStore:
    """The ledger of one Kafka cluster.

    Args:
        db: keeps the ledger.
        cluster_id: the cluster's own name for itself; offsets of another are not ours.
        readiness: shows the wait for an absent database.
        clock: sleeps between the attempts.
    """

    def __init__(
        self, db: Database, cluster_id: str, readiness: Readiness, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._db = db
        self._cluster_id = cluster_id
        self._readiness = readiness
        self._clock = clock

    async def positions(
        self, first_offsets: Mapping[Partition, int]
    ) -> Mapping[Partition, LedgerEntry]:
        """Return the entries of partitions, opened at their first offsets where there is none.

        Retried until PostgreSQL answers, and nobody keeps the ledger locked.
        """
        return await until_available(
            Part.POSTGRESQL,
            lambda: self._positions(first_offsets),
            DatabaseUnreachable,
            TransactionConflict,
            readiness=self._readiness,
            clock=self._clock,
        )

    async def strangers(self, topic_ids: Mapping[Partition, UUID]) -> list[PausedPartition]:
        """Return which of the partitions are of another topic than the one that was counted.

        Where the ledger has no id yet, or begins, it takes over that of `topic_ids`.
        Retried until PostgreSQL answers.
        """
        return await until_available(
            Part.POSTGRESQL,
            lambda: self._strangers(topic_ids),
            DatabaseUnreachable,
            TransactionConflict,
            readiness=self._readiness,
            clock=self._clock,
        )

    async def _strangers(self, topic_ids: Mapping[Partition, UUID]) -> list[PausedPartition]:
        async with self._db.transaction() as conn:
            await ledger.identify(conn, self._cluster_id, topic_ids)
            entries = await ledger.read(conn, self._cluster_id, topic_ids)
        compared = (made_anew(entry, topic_ids[key]) for key, entry in sorted(entries.items()))
        return [found for found in compared if found is not None]

    async def _positions(
        self, first_offsets: Mapping[Partition, int]
    ) -> Mapping[Partition, LedgerEntry]:
        async with self._db.transaction() as conn:
            await ledger.open_partitions(conn, self._cluster_id, first_offsets)
            return await ledger.read(conn, self._cluster_id, first_offsets)

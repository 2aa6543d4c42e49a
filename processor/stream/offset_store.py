"""The offset ledger, as the consumer reads it after an assignment.

In Kafka Connect's words an offset storage: where to read on is kept beside what was counted, never
in Kafka's own committed offsets (docs/adr/0007-offset-ledger.md).
"""

from collections.abc import Mapping

from ops.clock import SYSTEM_CLOCK, Clock
from ops.lifecycle import Part, Readiness, until_available
from store import ledger
from store.engine import Database, DatabaseUnreachable
from store.values import LedgerEntry, Partition


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

        Retried until PostgreSQL answers.
        """
        return await until_available(
            Part.POSTGRESQL,
            lambda: self._positions(first_offsets),
            DatabaseUnreachable,
            readiness=self._readiness,
            clock=self._clock,
        )

    async def _positions(
        self, first_offsets: Mapping[Partition, int]
    ) -> Mapping[Partition, LedgerEntry]:
        async with self._db.transaction() as conn:
            await ledger.open_partitions(conn, self._cluster_id, first_offsets)
            return await ledger.read(conn, self._cluster_id, first_offsets)

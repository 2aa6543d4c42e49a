"""Notice when counting stops by itself, or when no broker answers.

A worker that stalls without an error is the failure that nobody sees: agents of Faust have stopped
after days (docs/adr/0004-faust-guards.md). What is decided from one look is in `Watchdog.check`,
which waits for nothing.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from ops import metrics, stacks
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError
from ops.lifecycle import Part, Readiness
from processor.stream.positions import PartitionPosition
from store.values import Partition

_TICK = timedelta(seconds=1)
# Without an answer of any broker: not ready. Idle fetches are answered many times a second.
_SILENCE_MAX = timedelta(seconds=10)


class Stalled(LaurelError):
    """Records wait, nothing hinders counting, and none is counted."""

    code = "stalled"


@dataclass(frozen=True, slots=True)
class StreamProgress:
    """How far the assigned partitions are fetched and counted.

    Args:
        positions: none while there is no group.
        counted_to: the next offset of each partition that this process counted of.
        committed_at: the last commit, on the clock's monotonic scale.
        paused: those of them that wait for an operator: their lag is no stall.
        is_standby: in the group, and left without a partition: others have them all.
    """

    positions: Mapping[Partition, PartitionPosition]
    counted_to: Mapping[Partition, int]
    committed_at: float
    is_standby: bool = False
    paused: Collection[Partition] = ()

    def lags(self) -> dict[Partition, int]:
        """Return how many records wait in each partition."""
        return {
            partition: position.lag(self.counted_to.get(partition, 0))
            for partition, position in self.positions.items()
        }

    def silence(self, now: float) -> float:
        """Return for how many seconds no broker has answered, where one is asked.

        While chunks are in flight nobody may be asking. `now` is the epoch's, as `answered_at` is.
        """
        read = {key: each for key, each in self.positions.items() if key not in self.paused}
        in_flight = any(
            position.is_in_flight(self.counted_to.get(partition, 0))
            for partition, position in read.items()
        )
        if in_flight or not read:
            return 0.0
        return now - max(position.answered_at for position in read.values())


class Watchdog:
    """Publishes the lag, and ends the worker where there is some and nothing happens.

    Args:
        stall_after: the longest that records may wait without a commit.
        brokers: for the reason of the wait for Kafka.
        readiness: told of the group's start, and of brokers that are silent.
        clock: the time between two looks, and since the last commit.
    """

    def __init__(
        self,
        stall_after: timedelta,
        brokers: str,
        readiness: Readiness,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._stall_after = stall_after
        self._brokers = brokers
        self._readiness = readiness
        self._clock = clock
        self._idle_at = clock.monotonic()

    async def watch(self, progress: Callable[[], StreamProgress]) -> None:
        """Check `progress` every second.

        Raises:
            Stalled: see `check`.
        """
        while True:
            await self._clock.sleep(_TICK)
            self.check(progress())

    def check(self, progress: StreamProgress) -> None:
        """Look once.

        Raises:
            Stalled: for `stall_after` there was lag, nothing in the way, and no commit; the stacks
                of all threads and tasks are in the log.
        """
        lags = progress.lags()
        for (topic, partition), records in lags.items():
            metrics.CONSUMER_LAG_RECORDS.labels(topic, str(partition)).set(records)
        for (topic, partition), position in progress.positions.items():
            metrics.WITHHELD_RECORDS.labels(topic, str(partition)).set(position.withheld)
        if progress.positions or progress.is_standby:
            self._readiness.arrived(Part.START)
        self._check_brokers(progress)
        lag = sum(records for key, records in lags.items() if key not in progress.paused)
        if not lag or Part.POSTGRESQL in self._readiness.waits:
            self._idle_at = self._clock.monotonic()
            return
        stalled = self._clock.monotonic() - max(self._idle_at, progress.committed_at)
        if stalled > self._stall_after.total_seconds():
            stacks.log_all("stalled")
            raise Stalled(f"{lag} records wait, and none was counted for {stalled:.0f} s", lag=lag)

    def _check_brokers(self, progress: StreamProgress) -> None:
        silence = progress.silence(self._clock.now().timestamp())
        if silence > _SILENCE_MAX.total_seconds():
            reason = f"Kafka at {self._brokers} has not answered for {silence:.0f} s"
            self._readiness.wait_for(Part.KAFKA, reason)
        else:
            self._readiness.arrived(Part.KAFKA)

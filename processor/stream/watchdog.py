"""Notice when counting stops by itself, when the group does not form, or no broker answers.

A worker that stalls without an error is the failure that nobody sees: agents of Faust have stopped
after days (docs/adr/0004-faust-guards.md). What is decided from one look is in
`StreamWatchdog.check`, which waits for nothing. That the event loop itself hangs is seen by another
(ops/watchdog.py).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from ops import stacks
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError
from ops.lifecycle import Part, Readiness
from ops.logs import logger
from ops.progress import went_on
from processor.stream.group_watch import GroupTrouble
from processor.stream.partition_series import PartitionSeries
from processor.stream.positions import PartitionPosition
from store.values.names import Partition

_TICK = timedelta(seconds=1)
# Without an answer of any broker, or without a group: not ready. Idle fetches are answered many
# times a second, and a group forms within one.
_SILENCE_MAX = timedelta(seconds=10)

log = logger("watchdog")


class Stalled(LaurelError):
    """Records wait, nothing hinders counting, and none is counted."""

    code = "stalled"


class GroupMissing(LaurelError):
    """This worker is not in its group, and waiting longer does not help."""

    code = "group_missing"


@dataclass(frozen=True, slots=True)
class StreamProgress:
    """How far the assigned partitions are fetched and counted.

    Args:
        positions: none while there is no group.
        counted_to: the next offset of each partition that this process counted of.
        committed_at: the last commit, on the clock's monotonic scale.
        paused: those of them that wait for an operator: their lag is no stall.
        is_standby: in the group, and left without a partition: others have them all.
        group_trouble: what keeps it out of the group, where the coordinator said so.
        denied_topics: those of them that it may not read: their lag is no stall either.
    """

    positions: Mapping[Partition, PartitionPosition]
    counted_to: Mapping[Partition, int]
    committed_at: float
    is_standby: bool = False
    paused: Collection[Partition] = ()
    group_trouble: GroupTrouble | None = None
    denied_topics: Collection[str] = ()

    @property
    def is_in_group(self) -> bool:
        """Return whether the group gave this worker its share."""
        return self.group_trouble is None and (bool(self.positions) or self.is_standby)

    def is_hindered(self, partition: Partition) -> bool:
        """Return whether `partition` cannot be read, whatever this worker does."""
        return partition in self.paused or partition[0] in self.denied_topics

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
        read = {key: each for key, each in self.positions.items() if not self.is_hindered(key)}
        in_flight = any(
            position.is_in_flight(self.counted_to.get(partition, 0))
            for partition, position in read.items()
        )
        if in_flight or not read:
            return 0.0
        return now - max(position.answered_at for position in read.values())


class StreamWatchdog:
    """Publishes the lag, and ends the worker where there is some and nothing happens.

    Args:
        stall_after: the longest that records may wait without a commit, or a worker without a
            group.
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
        self._idle_at = self._grouped_at = clock.monotonic()
        self._lost = ""
        self._assigned: list[Partition] | None = None
        self._series = PartitionSeries()

    async def watch(self, progress: Callable[[], StreamProgress]) -> None:
        """Check `progress` every second.

        Raises:
            Stalled, GroupMissing: see `check`.
        """
        while True:
            await self._clock.sleep(_TICK)
            went_on()
            self.check(progress())

    def check(self, progress: StreamProgress) -> None:
        """Look once.

        Raises:
            Stalled: for `stall_after` there was lag, nothing in the way, and no commit; the stacks
                of all threads and tasks are in the log.
            GroupMissing: for `stall_after` there was no group, or there will be none.
        """
        lags = progress.lags()
        self._series.show(progress.positions, lags)
        if progress.is_in_group:
            self._readiness.arrived(Part.START)
        self._say(self._group(progress) or _denied(progress) or self._silence(progress))
        self._tell_assignment(progress)
        lag = sum(records for key, records in lags.items() if not progress.is_hindered(key))
        if not lag or Part.POSTGRESQL in self._readiness.waits:
            self._idle_at = self._clock.monotonic()
            return
        stalled = self._clock.monotonic() - max(self._idle_at, progress.committed_at)
        if stalled > self._stall_after.total_seconds():
            stacks.log_all("stalled")
            raise Stalled(f"{lag} records wait, and none was counted for {stalled:.0f} s", lag=lag)

    def _group(self, progress: StreamProgress) -> str | None:
        """Return what is to be said about the group, if anything.

        Raises:
            GroupMissing: see `check`.
        """
        now = self._clock.monotonic()
        if progress.is_in_group or Part.POSTGRESQL in self._readiness.waits:
            # What is assigned is ours once PostgreSQL has said where to read.
            self._grouped_at = now
        if progress.is_in_group:
            self._series.keep_only(progress.positions)
            return None
        trouble, missing = progress.group_trouble, now - self._grouped_at
        if missing > _SILENCE_MAX.total_seconds():
            self._series.keep_only(())  # by then others have them
        reason = f"no consumer group at {self._brokers} for {missing:.0f} s"
        if trouble is not None:
            reason = trouble.reason
        if missing > self._stall_after.total_seconds() or (trouble and trouble.is_final):
            stacks.log_all(GroupMissing.code)
            raise GroupMissing(reason, seconds=round(missing))
        return reason if trouble or missing > _SILENCE_MAX.total_seconds() else None

    def _silence(self, progress: StreamProgress) -> str | None:
        silence = progress.silence(self._clock.now().timestamp())
        if silence <= _SILENCE_MAX.total_seconds():
            return None
        return f"Kafka at {self._brokers} has not answered for {silence:.0f} s"

    def _tell_assignment(self, progress: StreamProgress) -> None:
        """Log what this worker counts, once it does, and again where that changes."""
        assigned = sorted(progress.positions)
        if self._readiness.ready and progress.is_in_group and assigned != self._assigned:
            self._assigned = assigned
            log.info("worker_ready", partitions=[f"{name}/{number}" for name, number in assigned])

    def _say(self, reason: str | None) -> None:
        """Show what Kafka is waited for; log it once, and its end."""
        if reason is None:
            self._readiness.arrived(Part.KAFKA)
        else:
            self._readiness.wait_for(Part.KAFKA, reason)
        if reason and not self._lost:
            self._lost = reason  # the first: a group forms anew before it has its share again
            log.warning("kafka_lost", reason=reason)
        elif self._lost and not reason:
            log.info("kafka_back", after=self._lost)
            self._lost = ""


def _denied(progress: StreamProgress) -> str | None:
    if not progress.denied_topics:
        return None
    return (
        f"Kafka denies this user to read {', '.join(sorted(progress.denied_topics))}; the other "
        "topics are read: allow it the operation Read on them"
    )

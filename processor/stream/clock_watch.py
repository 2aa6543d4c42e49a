"""Say so where the host's clock is wrong by more than what counts as the future.

Which events are too new is judged by the host's clock (processor/events/reader.py). Witnesses are
those who need no right more: PostgreSQL, which is asked; and Kafka, where a topic's records carry
the time at which its broker appended them (message.timestamp.type=LogAppendTime). A record may have
waited, so it tells only of a host that is behind. There is no request by which a client without
further rights learns a broker's time.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.clock_reading import ClockReading
from ops.errors import Transient
from ops.lifecycle import Part, Readiness
from ops.logs import logger

_LOOK_INTERVAL = timedelta(seconds=10)
# So long a broker's time is believed, should that have been set back since.
_KEPT_S = 600.0
_LOG_APPEND_TIME = 1

log = logger("worker")


@dataclass(frozen=True, slots=True)
class _Appended:
    at: float  # the broker's time, in seconds of the epoch
    fetched_at: float  # on the monotonic clock


class AppendTimes:
    """The latest time of a broker that a record has brought; written by the consumer's thread."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._latest: _Appended | None = None

    def note(self, record: object) -> None:
        """Take the time at which `record` was appended, where it carries that."""
        if getattr(record, "timestamp_type", None) != _LOG_APPEND_TIME:
            return
        now, latest = self._clock.monotonic(), self._latest
        found = _Appended(getattr(record, "timestamp", 0) / 1000, now)
        if (
            latest is None
            or now - latest.fetched_at > _KEPT_S
            or found.at - found.fetched_at > latest.at - latest.fetched_at
        ):
            self._latest = found

    def reading(self) -> ClockReading | None:
        """Return the least that the brokers' clocks say by now; None where no record tells."""
        latest, now = self._latest, self._clock.monotonic()
        if latest is None or now - latest.fetched_at > _KEPT_S:
            return None
        theirs = datetime.fromtimestamp(latest.at + now - latest.fetched_at, UTC)
        return ClockReading("Kafka", self._clock.now(), theirs, may_be_later=True)


class ClockWatch:
    """Compares the clocks every few seconds.

    Args:
        database: returns PostgreSQL's clock.
        kafka: returns the brokers', where records tell it.
        tolerance: by how much the host's may differ.
        readiness: told of one that differs by more.
        clock: the time between two looks.
    """

    def __init__(
        self,
        database: Callable[[], Awaitable[ClockReading]],
        kafka: Callable[[], ClockReading | None],
        tolerance: timedelta,
        readiness: Readiness,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._database = database
        self._kafka = kafka
        self._tolerance = tolerance
        self._readiness = readiness
        self._clock = clock

    async def watch(self) -> None:
        """Look every few seconds, for as long as the worker runs."""
        while True:
            with suppress(Transient):  # the batcher waits for the database, and says so
                await self.look()
            await self._clock.sleep(_LOOK_INTERVAL)

    async def look(self) -> None:
        """Look once.

        Raises:
            Transient: PostgreSQL does not say.
        """
        readings = [await self._database()]
        if (kafka := self._kafka()) is not None:
            readings.append(kafka)
        for each in readings:
            metrics.CLOCK_AHEAD_SECONDS.labels(each.witness.lower()).set(each.ahead.total_seconds())
        troubles = [trouble for each in readings if (trouble := each.trouble(self._tolerance))]
        was_wrong = Part.CLOCK in self._readiness.waits
        if troubles:
            self._readiness.wait_for(Part.CLOCK, "; ".join(troubles))
            if not was_wrong:
                log.warning("clock_wrong", reason="; ".join(troubles))
        else:
            self._readiness.arrived(Part.CLOCK)
            if was_wrong:
                log.info("clock_right")

"""Take no more out of a fetch than there is room for.

aiokafka hands over all that it has fetched, of all partitions, expanded. Here what is taken at a
time is bounded in bytes of memory; the rest waits, as it came over the wire. aiokafka has no seam
for it: tests/processor/stream/test_bounded_fetch.py holds what is leant on.
"""

from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import FetchResult

from processor.events.records import bounded, memory_of
from processor.stream import lenient_headers
from processor.stream.room import ROOM, Unfinished
from store.values.stream import PausedPartition


class BoundedFetchResult(FetchResult):  # type: ignore[misc]
    """What was fetched of one partition, taken as far as there is room."""

    _partition_records: Any
    _is_unfinished = False

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Return the next records; none where there is no room left."""
        room = ROOM.get(None)
        if room is None:
            return list(super().getall(max_records))
        if room.left <= 0 or (self._is_unfinished and room.is_left_unfinished):
            return []
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        found: list[Any] = []
        for each in self._partition_records:
            self._is_unfinished = isinstance(each, Unfinished)
            if isinstance(each, Unfinished):
                room.steps_left -= each.size
                room.is_left_unfinished = room.steps_left <= 0
            elif isinstance(each, PausedPartition):  # the last one (guarded_records.py)
                found.append(each)
            else:
                room.left -= memory_of(each)
                found.append(bounded(each, room.record_bytes_max))
            if room.left <= 0 or (self._is_unfinished and room.is_left_unfinished):
                self._update_position()
                break
        else:
            self._update_position()
            self._partition_records = None
        return found


def install() -> None:
    """Let every consumer of this process take its records so."""
    fetcher.FetchResult = BoundedFetchResult
    lenient_headers.install()

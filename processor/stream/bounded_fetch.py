"""Take no more out of a fetch than there is room for.

aiokafka hands over all that it has fetched, of all partitions, expanded. Here what is taken at a
time is bounded in bytes of memory; the rest waits, as it came over the wire. Of that there is a
bound, too: aiokafka goes on fetching for each partition that nothing waits of, and with hundreds of
them, or large batches, what waits is gigabytes. aiokafka has no seam for it:
tests/processor/stream/test_bounded_fetch.py holds what is leant on.
"""

from collections.abc import Callable, Iterator
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import consumer, fetcher
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.fetch import FetchRequest

from processor.events.records import bounded, memory_of
from processor.stream import lenient_headers
from processor.stream.room import ROOM, Unfinished
from store.values.stream import PausedPartition, PauseReason

# Of all fetches that wait, over the wire; the last ones may exceed it. Four of the largest answers
# (transport.py), each of which has more than one batch only where it is not larger.
HELD_BYTES_MAX = 64 * 1024 * 1024


class BoundedFetchResult(FetchResult):  # type: ignore[misc]
    """What was fetched of one partition, taken as far as there is room."""

    _partition_records: Any
    _is_unfinished = False

    @property
    def bytes_held(self) -> int:
        """Return the bytes of the fetch; 0 once all of it is taken."""
        held = getattr(self._partition_records, "_records", None)
        return 0 if held is None else int(held.size_in_bytes())

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


class _Unreadable:
    """What stands for a partition's records where its broker cannot read them itself."""

    def __init__(self, tp: TopicPartition, offset: int) -> None:
        self.next_fetch_offset = offset
        detail = f"the broker cannot read the batch at offset {offset} (corrupt message)"
        reason = PauseReason.UNDECODABLE_BATCH
        pause = PausedPartition(tp.topic, tp.partition, offset, reason, detail, None)
        self._pauses = iter([pause])

    def __iter__(self) -> Iterator[PausedPartition]:
        return self._pauses


class _Answers:
    """A client whose answers to fetches are looked at before aiokafka does."""

    def __init__(self, client: Any, look: Callable[[Any, Any], None]) -> None:  # noqa: ANN401
        self._client = client
        self._look = look

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._client, name)

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:  # noqa: ANN401
        response = await self._client.send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            self._look(request, response)
        return response


class BoundedFetcher(Fetcher):  # type: ignore[misc]
    """Asks for no more while so much of what was fetched waits to be taken.

    And ends a partition's records where its broker says that they are corrupt: aiokafka would ask
    again, for ever, and say so in its log.
    """

    def __init__(self, client: Any, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(client, *arguments, **options)
        self._client = _Answers(client, self._look)

    def _look(self, request: Any, response: Any) -> None:  # noqa: ANN401
        assignment = (
            self._subscriptions.subscription and self._subscriptions.subscription.assignment
        )
        if assignment is None:
            return
        asked = {
            TopicPartition(topic, partition): offset
            for topic, partitions in request.topics
            for partition, offset, _ in partitions
        }
        for topic, partitions in response.topics:
            for partition, code, *_ in partitions:
                tp = TopicPartition(topic, partition)
                if code == CorruptRecordException.errno and tp in assignment.tps:
                    self._records[tp] = BoundedFetchResult(
                        tp,
                        assignment=assignment,
                        partition_records=_Unreadable(tp, asked[tp]),
                        backoff=self._prefetch_backoff,
                    )

    def _get_actions_per_node(self, assignment: Any) -> tuple[Any, ...]:  # noqa: ANN401 - aiokafka has no types
        requests, *others = super()._get_actions_per_node(assignment)
        # aiokafka asks again once something was taken.
        return ([] if self.bytes_held >= HELD_BYTES_MAX else requests), *others

    @property
    def bytes_held(self) -> int:
        """Return the bytes that were fetched and not all taken, as they came over the wire."""
        return sum(
            each.bytes_held
            for each in self._records.values()
            if isinstance(each, BoundedFetchResult)
        )


def install() -> None:
    """Let every consumer of this process fetch, and take its records, so."""
    consumer.Fetcher = BoundedFetcher
    fetcher.FetchResult = BoundedFetchResult
    lenient_headers.install()

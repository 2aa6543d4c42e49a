"""A range of a topic as a source of history: what lies between two offsets or times.

Read beside all groups; the ledger of the stream is not touched.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ops.settings import Settings
from processor.history.pieces import Piece
from processor.stream import range_reading
from processor.stream.topic_range import TopicRange


@dataclass(frozen=True, slots=True)
class TopicSource:
    """Partitions of a range, each a source of its own.

    Args:
        settings: how Kafka is reached.
        asked: topic, partitions and offsets.
    """

    settings: Settings
    asked: TopicRange

    @property
    def _partitions(self) -> Sequence[int]:
        return sorted(self.asked.partitions)

    @property
    def names(self) -> Sequence[str]:
        """Return each partition with its offsets."""
        found = []
        for partition in self._partitions:
            extent = self.asked.partitions[partition]
            found.append(f"{self.asked.topic}/{partition}@{extent.begin}-{extent.end - 1}")
        return found

    @property
    def size(self) -> int:
        """Return how many offsets it spans."""
        return self.asked.offsets

    @property
    def is_read_once(self) -> bool:
        """Return that it can be read again."""
        return False

    def pieces(self, record_bytes_max: int, stopped: Callable[[], bool]) -> Iterator[Piece]:
        """Yield the records of the range."""
        del record_bytes_max  # the settings say it to the consumer
        numbers = {partition: number for number, partition in enumerate(self._partitions)}
        for part in range_reading.read(self.settings, self.asked, stopped):
            first = part.records[0].offset if part.records else 0
            source = numbers[part.partition]
            yield Piece(source, first, None, part.records, part.topic, part.offsets)

    def place_name(self, source: int, number: int) -> str:
        """Return topic, partition and offset of a record."""
        return f"{self.asked.topic}/{self._partitions[source]}@{number}"

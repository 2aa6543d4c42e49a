"""Which of this worker's partitions are paused, and which of them an operator has decided about.

Pure. A pause is found by whoever reads the partition, written down where operators see it, and ends
when its row is gone; a new owner of the partition meets the same fault and pauses it again.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from store.values.names import Partition
from store.values.stream import PausedPartition, PauseReason


class PausedPartitions:
    """The pauses of one worker."""

    def __init__(self) -> None:
        self._paused: dict[Partition, PausedPartition] = {}
        self._saved: set[Partition] = set()

    @property
    def keys(self) -> frozenset[Partition]:
        """Return the partitions that are paused."""
        return frozenset(self._paused)

    def pause(self, found: PausedPartition) -> bool:
        """Take in that a partition is paused; return whether that is new."""
        if self._paused.get(found.key) == found:
            return False
        self._paused[found.key] = found
        self._saved.discard(found.key)
        return True

    def forget(self, partitions: Iterable[Partition]) -> list[PausedPartition]:
        """Drop partitions that are read on, or by somebody else; return those that were paused."""
        gone = [self._paused.pop(each) for each in partitions if each in self._paused]
        self._saved.difference_update(each.key for each in gone)
        return gone

    def unsaved(self) -> list[PausedPartition]:
        """Return what no operator can see yet."""
        return [each for key, each in self._paused.items() if key not in self._saved]

    def saved(self, found: PausedPartition) -> None:
        """Note that `found` is written down, unless it has changed since."""
        if self._paused.get(found.key) == found:
            self._saved.add(found.key)

    @property
    def awaited(self) -> frozenset[Partition]:
        """Return the partitions about which an operator can decide."""
        return frozenset(self._saved)

    def decided(self, still_paused: Collection[Partition]) -> list[Partition]:
        """Return the partitions whose row is gone: somebody has decided."""
        return sorted(self._saved - set(still_paused))

    def troubles(self) -> dict[str, str]:
        """Return for /ready: each paused partition -> why, from where, and the way out."""
        return {
            f"{each.topic}[{each.partition}]": (
                f"paused at offset {each.offset} ({each.reason}): {each.detail}. {each.way_out}"
            )
            for _, each in sorted(self._paused.items())
        }

    def numbers(self) -> dict[tuple[str, PauseReason], int]:
        """Return how many partitions of a topic are paused for which reason."""
        return dict(Counter((each.topic, each.reason) for each in self._paused.values()))

"""Read sources of history whole, before anything of them is counted.

Nothing of PostgreSQL is touched here. What comes out says of each record what it is: an event, each
once; a wallet change or a command; or refused, for the reason that the stream would give.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from ops.lifecycle import Stop
from ops.progress import went_on
from processor.batch.staging import id_conflict
from processor.history import event_table
from processor.history.event_table import EventTable, RepeatedEvent
from processor.history.kept_records import KeptRecords, RefusedPlace
from processor.history.pieces import Piece
from processor.history.reading import Readers


class ScanListener(Protocol):
    """Is told how far the reading is."""

    def reached(self, records: int, read_bytes: int) -> None:
        """Take in how many records and bytes of the sources are read."""
        ...


@dataclass(slots=True)
class Scan:
    """What sources hold; complete once `read` has returned True."""

    table: EventTable
    kept: KeptRecords
    records: int = 0
    read_bytes: int = 0

    def read(
        self, pieces: Iterable[Piece], readers: Readers, stop: Stop, listener: ScanListener
    ) -> bool:
        """Read every piece; return False where the end was asked for meanwhile.

        Raises:
            UsageError: a source cannot be read, or is broken.
            ReaderDied: a process that reads was killed.
        """
        for read in readers.read(pieces):
            for rows in read.rows:
                self.table.add(rows)
            self.kept.add(read)
            self.records += read.records
            self.read_bytes += read.piece.read_bytes
            listener.reached(self.records, self.read_bytes)
            went_on()
            if stop.requested:
                return False
        self.table.seal(repr((readers.basis, self.kept.digest())).encode())
        went_on()
        return True

    def repetitions(self) -> int:
        """Return how many events say again what an earlier one of the sources says."""
        return self.table.number_of_repeats - self.table.number_of_conflicts

    def refused(self) -> Iterator[RefusedPlace]:
        """Give what is refused: first what reading refuses, then what contradicts an earlier event.

        Both in the order of the sources.
        """
        yield from self.kept.refused()
        yield from map(_conflict, filter(attrgetter("conflicts"), self.table.repeated()))


@contextmanager
def opened(directory: Path | None, memory_bytes: int, threads: int) -> Iterator[Scan]:
    """Give an empty scan; its files go afterwards. Arguments as those of event_table.opened."""
    with event_table.opened(directory, memory_bytes, threads) as table:
        yield Scan(table, KeptRecords(table.connection))


def _conflict(each: RepeatedEvent) -> RefusedPlace:
    return RefusedPlace(each.place, id_conflict(each.id, each.source, each.type))

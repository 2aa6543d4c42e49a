"""Readers in processes give what one reader gives, in order, and end with whom they read for."""

import asyncio
import multiprocessing
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ops.settings import DEFAULT_TENANT
from processor.history.kept_records import KeptRecords
from processor.history.pieces import Piece, source_of
from processor.history.reading import PieceReader, ReadBy, ReaderDied, Readers, ReadPiece
from store.values.stream import Reason
from tests.builders.clusters import until
from tests.builders.messages import a_command, a_visit, a_wallet, an_address, encoded, user
from tests.builders.reading import CATALOG

pytestmark = pytest.mark.integration

BY = ReadBy(CATALOG, DEFAULT_TENANT, timedelta(minutes=10), None, 1 << 16)


def lines(*messages: dict[str, Any] | bytes) -> bytes:
    return b"".join((encoded(message) or b"") + b"\n" for message in messages)


def pieces(number: int) -> list[Piece]:
    """Pieces of two sources: visits, a line that is broken, a wallet and a command in each."""
    return [
        Piece(
            each % 2,
            each // 2 * 6,
            lines(
                *(a_visit(user(person), f"c{each}", id=f"v{each}-{person}") for person in range(3)),
                b"{",
                a_wallet(user(1), an_address(1)),
                a_command("mint", user(1), f"x{each}", type_code="explorer"),
            ),
        )
        for each in range(number)
    ]


def shown(read: ReadPiece) -> tuple[object, ...]:
    return (
        read.piece.source,
        read.piece.first,
        read.records,
        sorted(row["place"] for rows in read.rows for row in rows.events.to_pylist()),
        [(each.record.offset, each.rejected.reason) for each in read.refused],
        [each.offset for each in read.others],
    )


def test_processes_read_what_one_reader_reads_in_the_same_order() -> None:
    alone = [shown(PieceReader(BY).read(piece)) for piece in pieces(12)]
    assert [shown(read) for read in Readers(BY, 2).read(pieces(12))] == alone
    assert [(one[0], one[2], one[4]) for one in alone[:2]] == [
        (0, 6, [(3, Reason.NOT_JSON)]),
        (1, 6, [(3, Reason.NOT_JSON)]),
    ]
    assert [one[5] for one in alone[:3]] == [[4, 5], [4, 5], [10, 11]]


def test_a_killed_reader_ends_the_reading_with_a_word() -> None:
    def killing() -> Any:
        for number, piece in enumerate(pieces(40)):
            if number == 8:
                readers = multiprocessing.active_children()
                readers[0].kill()
            yield piece

    with pytest.raises(ReaderDied, match="--memory"):
        list(Readers(BY, 2).read(killing()))


PARENT = """
from tests.processor.history.test_reading import BY, pieces
from processor.history.reading import Readers
import multiprocessing, time
if __name__ == "__main__":
    reading = Readers(BY, 2).read(pieces(40))
    next(reading)
    print(*(each.pid for each in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def runs(pid: int) -> bool:
    """Return whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_readers_end_with_the_process_that_they_read_for(tmp_path: Path) -> None:
    """Also where that one is killed, and can say nothing any more."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, script, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    readers = [int(pid) for pid in (await parent.stdout.readline()).split()]
    parent.kill()
    await parent.wait()
    assert len(readers) == 2
    await until(lambda: not any(map(runs, readers)), "the readers are gone")


def test_what_is_no_event_is_kept_in_its_order() -> None:
    kept = KeptRecords(duckdb.connect())
    read = [PieceReader(BY).read(piece) for piece in pieces(4)]
    for each in (read[2], read[0], read[3], read[1]):
        kept.add(each)
    assert kept.reasons() == {Reason.NOT_JSON: 4}
    assert [source_of(each.place) for each in kept.refused()] == [(0, 3), (0, 9), (1, 3), (1, 9)]
    others = list(kept.others())
    assert [source_of(each.place) for each in others] == [
        (0, 4), (0, 5), (0, 10), (0, 11), (1, 4), (1, 5), (1, 10), (1, 11),
    ]  # fmt: skip
    first = next(kept.refused())
    assert (first.rejected.reason, first.rejected.detail) == (
        Reason.NOT_JSON,
        "Input data was truncated",
    )
    assert others[1].record == read[0].others[1]

"""Files and pipes, plain and packed, come as pieces whose bytes add up."""

import codecs
import gzip
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import cramjam
import pytest

from ops.errors import UsageError
from processor.history.inputs.line_pieces import PIECE_BYTES, records_of
from processor.history.inputs.reading import Inputs, inputs_of
from processor.history.pieces import Piece
from tests.builders.patience import PATIENCE_S

LINES = b"one\ntwo\r\n\nthree"
READ = [(0, b"one"), (1, b"two"), (3, b"three")]
MANY = b"".join(b'{"id": "%d", "source": "/shop"}\n' % number for number in range(150_000))


def zstd(content: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(content))


def skipped(content: bytes) -> bytes:
    """A frame of zstd that readers pass over."""
    return b"\x50\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def read(inputs: Inputs) -> list[tuple[int, bytes | None]]:
    return [
        (record.offset, record.value)
        for piece in inputs.pieces(1 << 20)
        for record in records_of(piece, 1 << 20)
    ]


def a_fifo(path: Path, content: bytes) -> Path:
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(content,), daemon=True).start()
    return path


@pytest.mark.parametrize("piped", [False, True], ids=["file", "pipe"])
@pytest.mark.parametrize("content", [LINES, codecs.BOM_UTF8 + LINES], ids=["", "byte order mark"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
def test_lines_are_read(
    tmp_path: Path, pack: Callable[[bytes], bytes], content: bytes, *, piped: bool
) -> None:
    path = tmp_path / "history"
    if piped:
        a_fifo(path, pack(content))
    else:
        path.write_bytes(pack(content))
    inputs = inputs_of([str(path)])
    assert inputs.size == (None if piped else len(pack(content)))
    assert read(inputs) == READ


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(b"one\ntw") + gzip.compress(b"") + gzip.compress(b"o\r\n\nthree"),
        gzip.compress(LINES) + b"\0" * 5000,
        b"".join(gzip.compress(bytes([byte])) for byte in LINES),
        zstd(b"one\ntw") + zstd(b"") + zstd(b"o\r\n\nthree"),
        skipped(b"abcd") + zstd(b"one\ntw") + skipped(b"") + zstd(b"o\r\n\nthree") + skipped(b"e"),
    ],
    ids=["members", "padded", "tiny members", "frames", "frames to be passed over"],
)
def test_every_part_of_what_is_packed_is_read(tmp_path: Path, packed: bytes) -> None:
    (tmp_path / "history").write_bytes(packed)
    assert read(inputs_of([str(tmp_path / "history")])) == READ


@pytest.mark.integration
@pytest.mark.parametrize("program", ["gzip -9", "zstd -q -19", "zstd -q --long=27", "pzstd -q"])
def test_what_the_programs_pack_is_read(tmp_path: Path, program: str) -> None:
    try:
        packed = subprocess.run(
            [*program.split(), "-c"], input=MANY, capture_output=True, check=True
        ).stdout
    except FileNotFoundError:
        pytest.skip(f"no {program}")
    (tmp_path / "history").write_bytes(packed)
    inputs = inputs_of([str(tmp_path / "history")])
    assert b"".join(each.lines or b"" for each in inputs.pieces(1 << 20)) == MANY


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize(
    "content",
    [MANY, LINES, b"", b"\n", b"x" * (5 << 20), b" " * (5 << 20) + b"\n"],
    ids=["many", "few", "none", "blank", "a long line", "a long blank line"],
)
def test_the_bytes_of_the_pieces_add_up(
    tmp_path: Path, pack: Callable[[bytes], bytes], content: bytes
) -> None:
    names = [tmp_path / "a", tmp_path / "b"]
    for each in names:
        each.write_bytes(pack(content))
    inputs = inputs_of([str(each) for each in names])
    found = list(inputs.pieces(1 << 20))
    assert sum(each.read_bytes for each in found) == inputs.size == 2 * len(pack(content))
    assert [each.source for each in found] == sorted(each.source for each in found)
    if content.count(b"\n") > 1:
        assert all(len(each.lines or b"") < PIECE_BYTES * 5 // 4 for each in found)


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
@pytest.mark.parametrize("cut", [1, 20, 20_000])
def test_what_is_cut_off_says_how_far_it_was_whole(
    tmp_path: Path, pack: Callable[[bytes], bytes], cut: int
) -> None:
    path = tmp_path / "history"
    path.write_bytes(pack(MANY)[:-cut])
    inputs = inputs_of([str(path)])
    with pytest.raises(UsageError, match=r"history: its \w+ data are broken or cut off") as refused:
        list(inputs.pieces(1 << 20))
    words = refused.value.message.split()
    assert 0 < int(words[words.index("whole") - 1]) <= MANY.count(b"\n")
    assert words[-6:] == ["Give", "a", "whole", "copy", "of", "it."]


def test_a_flipped_bit_is_seen(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(MANY))
    packed[-6] ^= 1  # of the checksum
    (tmp_path / "history").write_bytes(packed)
    with pytest.raises(UsageError, match="incorrect data check"):
        read(inputs_of([str(tmp_path / "history")]))


def test_a_bomb_comes_in_small_parts(tmp_path: Path) -> None:
    (tmp_path / "history").write_bytes(zlib.compress(b"{}\n" * (8 << 20), 9, wbits=31))
    inputs = inputs_of([str(tmp_path / "history")])
    assert max(len(each.lines or b"") for each in inputs.pieces(1 << 20)) < 2 * PIECE_BYTES


def test_places_have_names(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    inputs = inputs_of([str(tmp_path / "a.jsonl")])
    assert inputs.source_name(0) == f"{tmp_path}/a.jsonl"
    assert inputs.place_name(0, 41) == f"{tmp_path}/a.jsonl:42"


def test_a_descriptor_is_read_where_it_stands() -> None:
    here, there = os.pipe()
    with os.fdopen(there, "wb") as file:
        file.write(LINES)
    try:
        assert read(inputs_of([f"/dev/fd/{here}"])) == READ
    finally:
        os.close(here)


def test_parquet_does_not_come_by_a_pipe(tmp_path: Path) -> None:
    fifo = a_fifo(tmp_path / "fifo", b"PAR1....")
    with pytest.raises(UsageError, match="fifo: this is Parquet, whose end is read first"):
        read(inputs_of([str(fifo)]))


def test_the_wait_for_a_writer_can_be_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nobody-writes")
    inputs = inputs_of([str(tmp_path / "nobody-writes")])
    stop = threading.Event()
    found: list[Piece] = []
    reading = threading.Thread(
        target=lambda: found.extend(inputs.pieces(1 << 20, stop.is_set)), daemon=True
    )
    reading.start()
    stop.set()
    reading.join(PATIENCE_S)
    assert not reading.is_alive()
    assert found == []


def test_the_work_can_be_ended_between_pieces(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(MANY)
    inputs = inputs_of([str(tmp_path / "a")])
    assert len(list(inputs.pieces(1 << 20, lambda: True))) == 1


@pytest.mark.integration
def test_standard_input_is_read_once() -> None:
    program = (
        "from processor.history.inputs.reading import inputs_of\n"
        "inputs = inputs_of(['-', '-'])\n"
        "print(inputs.place_name(0, 0), [each.lines for each in inputs.pieces(99)])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], input=LINES, capture_output=True, check=True
    )
    assert ended.stdout.decode().strip() == f"<stdin>:1 [{LINES!r}]"

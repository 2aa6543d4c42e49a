"""All that is packed comes out, in little memory; what is damaged is told."""

import gzip
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.errors import UsageError
from processor.history.inputs.line_pieces import PIECE_BYTES
from processor.history.inputs.reading import inputs_of
from tests.builders.history_files import LINES, MANY, READ, read, zstd


def skipped(content: bytes) -> bytes:
    """A frame of zstd that readers pass over."""
    return b"\x50\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


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

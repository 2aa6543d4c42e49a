"""Files, pipes and standard input: their lines, what they are known by, and what is refused."""

import asyncio
import codecs
import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.errors import UsageError
from ops.lifecycle import Stop
from processor.history import sources
from tests.builders.patience import PATIENCE_S

LINES = [b"one\n", b"two\r\n", b"\n", b"three"]
READ = [(0, b"one"), (1, b"two"), (3, b"three")]
Read = list[tuple[int, bytes | None]]


async def read(path: Path) -> tuple[str, Read, Read]:
    """The key of a source, and its lines twice."""
    async with sources.opened(path, Stop()) as source:
        assert source is not None
        with source.records(1 << 20) as first:
            once = [(each.offset, each.value) for each in first]
        with source.records(1 << 20) as second:
            return source.key, once, [(each.offset, each.value) for each in second]


def a_fifo(path: Path, content: bytes) -> Path:
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(content,), daemon=True).start()
    return path


async def test_a_file_is_known_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(LINES))
    assert await read(path) == (str(path), READ, READ)


async def test_a_pipe_is_read_once_and_known_by_its_content(tmp_path: Path) -> None:
    content = b"".join(LINES)
    first = await read(a_fifo(tmp_path / "one", content))
    again = await read(a_fifo(tmp_path / "two", content))
    other = await read(a_fifo(tmp_path / "three", content + b"!"))
    assert first == again
    assert first[0].startswith("sha256:")
    assert first[1:] == (READ, READ)
    assert other[0] != first[0]


async def test_a_name_of_a_descriptor_is_no_file_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(LINES))
    with path.open("rb") as file:
        key, once, _ = await read(Path(f"/dev/fd/{file.fileno()}"))
    assert key.startswith("sha256:")
    assert once == READ


@pytest.mark.parametrize("piped", [False, True])
async def test_what_gzip_packed_is_read(tmp_path: Path, *, piped: bool) -> None:
    packed = gzip.compress(b"".join(LINES))
    path = tmp_path / "history.jsonl.gz"
    if piped:
        a_fifo(path, packed)
    else:
        path.write_bytes(packed)
    assert (await read(path))[1:] == (READ, READ)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(pack(codecs.BOM_UTF8 + b"".join(LINES)))
    assert (await read(path))[1:] == (READ, READ)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (gzip.compress(b"one\n" * 900)[:-20], "its gzip data are broken"),
        (b"\x1f\x8bnonsense", "its gzip data are broken"),
        (b"\x28\xb5\x2f\xfd...", "this is zstd: zstdcat it"),
        (b"BZh91AY", "this is bzip2: bzcat it"),
        (b"\xfd7zXZ\x00", "this is xz: xzcat it"),
        (b"PK\x03\x04", "this is zip: unzip -p it"),
        ("one\ntwo\n".encode("utf-16"), "this is UTF-16: iconv -f UTF-16 -t UTF-8 it"),
        (codecs.BOM_UTF16_BE + "one\n".encode("utf-16-be"), "this is UTF-16"),
        (gzip.compress("one\n".encode("utf-16")), "this is UTF-16"),
        (gzip.compress(b"PK\x03\x04"), "this is zip"),
    ],
    ids=[
        *("cut off", "no gzip", "zstd", "bzip2", "xz", "zip"),
        *("UTF-16", "UTF-16 of the other order", "UTF-16 in gzip", "zip in gzip"),
    ],
)
async def test_what_holds_no_lines_is_refused_with_a_word(
    tmp_path: Path, content: bytes, word: str
) -> None:
    path = tmp_path / "history"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=word) as refused:
        await read(path)
    assert refused.value.message.startswith(str(path))
    with pytest.raises(UsageError, match=word), sources.streamed(path, 1 << 20) as records:
        list(records)


async def test_the_wait_for_a_writer_can_be_ended(tmp_path: Path) -> None:
    path = tmp_path / "nobody-writes"
    os.mkfifo(path)
    stop = Stop()

    async def held() -> bool:
        async with sources.opened(path, stop) as source:
            return source is not None

    waiting = asyncio.create_task(held())
    await asyncio.sleep(0)
    stop.request()
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is False
    (thread,) = (each for each in threading.enumerate() if each.name == "spool")
    path.write_bytes(b"")
    thread.join(PATIENCE_S)


async def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await read(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        await read(tmp_path)

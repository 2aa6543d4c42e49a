"""Lines of history as files and pipes, packed or not, and what is read of them."""

import os
import threading
from pathlib import Path

import cramjam

from processor.history.inputs.line_pieces import records_of
from processor.history.inputs.reading import Inputs

LINES = b"one\ntwo\r\n\nthree"
READ = [(0, b"one"), (1, b"two"), (3, b"three")]
MANY = b"".join(b'{"id": "%d", "source": "/shop"}\n' % number for number in range(150_000))


def zstd(content: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(content))


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

"""A pipe is read as it comes, and the wait for it can be ended."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from processor.history.inputs.reading import inputs_of
from processor.history.pieces import Piece
from tests.builders.history_files import LINES, READ, read
from tests.builders.patience import PATIENCE_S


def test_a_descriptor_is_read_where_it_stands() -> None:
    here, there = os.pipe()
    with os.fdopen(there, "wb") as file:
        file.write(LINES)
    try:
        assert read(inputs_of([f"/dev/fd/{here}"])) == READ
    finally:
        os.close(here)


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
    cut = [b"one\ntwo\r\n\n", b"three\n"]
    assert ended.stdout.decode().strip() == f"<stdin>:1 {cut}"

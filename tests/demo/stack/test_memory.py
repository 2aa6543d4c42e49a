"""What all processes of a run take together."""

import os
import subprocess
import sys

import pytest

from demo.stack import memory

pytestmark = pytest.mark.integration

TAKES_64_MIB = "import sys; held = bytearray(64 * 2**20); print('up', flush=True); sys.stdin.read()"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells it on Linux alone")
def test_children_count_too() -> None:
    before = memory.tree_bytes(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", TAKES_64_MIB], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        during = memory.tree_bytes(os.getpid())
        child.stdin.close()
    assert before is not None
    assert during is not None
    assert 60 * 2**20 < during - before < 100 * 2**20


async def test_the_peak_is_the_most_that_was_seen() -> None:
    async with memory.watched() as peak:
        peak.note(10**12)
        peak.note(5)
        peak.note(None)
    assert peak.bytes == 10**12

"""How often a process that runs for long looks for reference cycles."""

import subprocess
import sys

import pytest

# A process of its own: what is said here holds for the whole of it.
PROGRAM = """
import gc
from datetime import timedelta
from ops import lifecycle

looks = 0

def looked(phase, info):
    global looks
    looks += phase == "start"

async def main(stop):
    frozen = gc.get_freeze_count()
    gc.callbacks.append(looked)
    kept = [[] for _ in range(9_000)]
    early = looks
    kept += [[] for _ in range(9_000)]
    print(frozen > 1_000, early, looks, len(kept))
    return 0

lifecycle.run(main, timedelta(seconds=30))
"""


@pytest.mark.integration
def test_a_long_process_looks_for_cycles_once_in_ten_thousand_objects() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["True", "0", "1", "18000"]

"""A fault point is inert unless armed, and then ends the process at the pass that was asked for."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

CODE = """
from ops.faults import Point, reach
for n in range(3):
    reach(Point.BATCH_MERGED)
    print(n, flush=True)
"""


@pytest.mark.parametrize(
    ("armed", "printed", "code"),
    [
        ("", "0\n1\n2\n", 0),
        ("other", "0\n1\n2\n", 0),
        ("batch.merged", "", -9),
        ("batch.merged:3", "0\n1\n", -9),
    ],
)
def test_a_fault_point(armed: str, printed: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "LAUREL_FAULT_POINT": armed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == (printed, code)

"""A fault point is inert unless armed, and then ends the process at the pass that was asked for."""

import os
import subprocess
import sys

import pytest

from ops.errors import UsageError
from ops.faults import Point
from ops.settings import load

CODE = """
from ops.faults import Point, reach
for n in range(3):
    reach(Point.BATCH_MERGED)
    print(n, flush=True)
"""


@pytest.mark.integration
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


@pytest.mark.parametrize("armed", ["batch.merge", "BATCH_MERGED", ":3", "batch.merged;"])
def test_a_point_that_does_not_exist_is_refused_with_the_list(
    armed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_FAULT_POINT", armed)
    with pytest.raises(UsageError, match="there is no point") as refused:
        load()
    assert all(point.value in refused.value.message for point in Point)


@pytest.mark.parametrize("count", ["", "0", "-1", "x", "\u0663"])
def test_a_number_of_passes_that_never_comes_is_refused(
    count: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_FAULT_POINT", f"batch.merged:{count}")
    with pytest.raises(UsageError, match="no number of passes"):
        load()


@pytest.mark.parametrize("armed", ["", "batch.merged", "minter.sent:12"])
def test_a_process_with_a_point_has_the_settings_that_it_has_without(
    armed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is killed at a point is the same as what runs in earnest."""
    monkeypatch.setenv("LAUREL_KAFKA__TOPIC_PREFIX", "elsewhere")
    monkeypatch.delenv("LAUREL_FAULT_POINT", raising=False)
    without = load()
    monkeypatch.setenv("LAUREL_FAULT_POINT", armed)
    assert load() == without
    assert load().kafka.topic_prefix == "elsewhere"

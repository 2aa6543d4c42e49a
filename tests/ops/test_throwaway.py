"""What a killed process left behind goes with the next start; nothing of anybody else's does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops.errors import UsageError
from ops.throwaway import home, throwaway

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from ops.throwaway import throwaway
with throwaway("part") as path:
    (path / "rows").write_text("1")
    print(path, flush=True)
    time.sleep(3600)
"""


KILLED_WHILE_STARTING = """
import os, signal, sys
from pathlib import Path
from ops import throwaway

made = Path.mkdir
def mkdir(path, *arguments, **options):
    if path.name.startswith("part-") and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    made(path, *arguments, **options)
    if path.name.startswith("part-"):
        os.kill(os.getpid(), signal.SIGKILL)

Path.mkdir = mkdir
with throwaway.throwaway("part"):
    pass
"""


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """These tests look at whole directories; the session's own parts lie elsewhere."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.integration
def test_the_next_start_removes_what_a_killed_process_left_and_nothing_else(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def held() -> tuple["subprocess.Popen[str]", Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    killed, left = held()
    living, used = held()
    try:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        strange = home() / "thrown-away" / "part-without-lock"
        strange.mkdir()
        assert (left / "rows").exists()
        with throwaway("other"):
            assert not left.exists()
            assert (used / "rows").exists()
            assert strange.exists()
    finally:
        living.kill()
        living.communicate()


@pytest.mark.integration
@pytest.mark.parametrize("before", [True, False])
def test_who_is_killed_while_it_makes_its_directory_leaves_nothing(
    tmp_path: Path, before: bool
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_STARTING.format(before=before)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert [each.name for each in (home() / "thrown-away").iterdir()] != ["sweep.lock"]
    with throwaway("other") as own:
        there = {each.name for each in own.parent.iterdir()}
    assert there == {"sweep.lock", own.name, f"{own.name}.lock"}


def test_an_owner_may_end_while_another_one_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Path.glob

    def read_before_the_owner_ended(self: Path, pattern: str) -> list[Path]:
        return [*names(self, pattern), self / "part-gone.lock"]

    monkeypatch.setattr(Path, "glob", read_before_the_owner_ended)
    with throwaway("part") as path:
        assert path.is_dir()


def test_a_directory_that_somebody_else_prepared_for_us_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    expected = home()
    expected.rmdir()
    expected.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"belongs to somebody else\. Remove it, or set TMPDIR"):
        home()

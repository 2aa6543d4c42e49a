"""A child says when it is ready, explains its death, and does not outlive its owner."""

import os
import signal
import sys
import textwrap
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox.process import PartFailed, running, start, unprivileged_account
from tests.builders.patience import PATIENCE

from .owner import an_owner, is_running, wait_for, wait_until_gone

pytestmark = pytest.mark.integration

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(3600)"]
MECHANISMS = [pytest.param(True, id="watchdog")]
if sys.platform == "linux":
    MECHANISMS.append(pytest.param(False, id="parent-death signal"))


# Start one child in a second process, and print its pid once it is up.
OWNER = """
    import sys, time
    from pathlib import Path
    from sandbox.process import start, unprivileged_account
    LOG, WATCHDOG, AS_NOBODY, END = Path(sys.argv[1]), *(word == "True" for word in sys.argv[2:])
    child = start("sleeper", ["sh", "-c", "echo up; sleep 3600 & wait"], log_path=LOG,
                  cwd=Path("/"), watchdog=WATCHDOG,
                  account=unprivileged_account() if AS_NOBODY else None)
    while "up" not in LOG.read_text():
        time.sleep(0.01)
    print(child.pid, flush=True)
    if not END:
        time.sleep(3600)
"""


@pytest.mark.parametrize("watchdog", MECHANISMS)
def test_a_child_is_gone_after_kill_9_of_its_owner(tmp_path: Path, watchdog: bool) -> None:
    with an_owner(OWNER, tmp_path / "child.log", str(watchdog), "False", "False") as (pid,):
        assert is_running(int(pid))
    wait_until_gone(int(pid))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run a child as somebody else")
@pytest.mark.parametrize("watchdog", MECHANISMS)
def test_a_child_of_another_user_is_gone_after_kill_9_of_its_owner(
    tmp_path: Path, watchdog: bool
) -> None:
    with an_owner(OWNER, tmp_path / "child.log", str(watchdog), "True", "False") as (pid,):
        assert is_running(int(pid))
    wait_until_gone(int(pid))


@pytest.mark.parametrize("watchdog", MECHANISMS)
def test_a_child_is_gone_when_its_owner_ends_without_stopping_it(
    tmp_path: Path, watchdog: bool
) -> None:
    with an_owner(OWNER, tmp_path / "child.log", str(watchdog), "False", "True") as (pid,):
        wait_until_gone(int(pid))


@pytest.mark.parametrize("watchdog", MECHANISMS)
def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path, watchdog: bool) -> None:
    """Linux signals a child at the end of the thread that forked it: before that thread's end can
    be seen, and so before any signal that is sent to the child afterwards."""
    program = """
        import signal, sys
        signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))
        print("up", flush=True)
        signal.pause()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    children = []

    def ask() -> None:
        child = start("sleeper", command, log_path=tmp_path / "child.log", watchdog=watchdog)
        children.append(child)
        # The signal is asked for by the child: a thread that ended before would cause none.
        child.wait_until_ready(lambda: "up" in child.log_tail(), PATIENCE)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    (child,) = children
    try:
        if sys.platform == "linux":
            task = Path(f"/proc/self/task/{thread.native_id}")
            wait_for(lambda: not task.exists(), "the thread did not end")
        child.send(signal.SIGUSR1)
        assert child.wait(PATIENCE) == 7
    finally:
        child.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run a child as somebody else")
def test_an_account_has_neither_roots_ids_nor_its_groups(tmp_path: Path) -> None:
    account = unprivileged_account()
    assert account is not None
    with running(
        "id", ["sh", "-c", "id -u; id -g; id -G"], log_path=tmp_path / "id.log", account=account
    ) as child:
        assert child.wait(PATIENCE) == 0
    assert child.log_tail() == f"{account.uid}\n{account.gid}\n{account.gid}"


def test_a_child_that_dies_at_its_start_is_explained_by_its_log(tmp_path: Path) -> None:
    command = [
        "sh",
        "-c",
        "for i in $(seq 30); do echo line $i; done; echo no such table >&2; exit 3",
    ]
    with (
        running("part", command, log_path=tmp_path / "part.log") as child,
        pytest.raises(PartFailed) as caught,
    ):
        child.wait_until_ready(lambda: False, PATIENCE)
    first, *tail = caught.value.message.splitlines()
    assert (
        first == f"part ended at its start, with exit code 3. The end of {tmp_path / 'part.log'}:"
    )
    assert tail[-2:] == ["line 30", "no such table"]
    assert "line 1" not in tail


def test_a_child_that_is_never_ready_is_given_up_after_the_bound(tmp_path: Path) -> None:
    with (
        running("part", SLEEPER, log_path=tmp_path / "part.log") as child,
        pytest.raises(PartFailed, match=r"part was not ready after 0\.1 s"),
    ):
        child.wait_until_ready(lambda: False, timedelta(seconds=0.1))
    assert child.exit_code() == -signal.SIGTERM


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with (
        running("part", ["/nowhere/program"], log_path=tmp_path / "part.log") as child,
        pytest.raises(PartFailed, match="/nowhere/program: No such file or directory"),
    ):
        child.wait_until_ready(lambda: False, PATIENCE)


def test_a_child_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    command = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"]
    child = start("stubborn", command, log_path=tmp_path / "part.log")
    child.wait_until_ready(lambda: "up" in child.log_tail(), PATIENCE)
    assert child.stop(signal.SIGTERM, timedelta(seconds=0.2)) == -signal.SIGKILL
    assert child.stop() == -signal.SIGKILL


def test_an_interrupt_from_the_terminal_does_not_reach_a_child(tmp_path: Path) -> None:
    with running("sleeper", SLEEPER, log_path=tmp_path / "part.log") as child:
        child.wait_until_ready(lambda: "up" in child.log_tail(), PATIENCE)
        assert os.getpgid(child.pid) == child.pid
        assert os.getsid(child.pid) != os.getsid(0)


def test_a_log_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    with running("true", ["true"], log_path=tmp_path / "part.log") as child:
        assert child.wait(PATIENCE) == 0
    assert child.log_path.stat().st_mode & 0o777 == 0o600


def test_a_result_is_kept_apart_from_talk(tmp_path: Path) -> None:
    child = start(
        "both",
        ["sh", "-c", "echo result; echo talk >&2"],
        log_path=tmp_path / "log",
        output_path=tmp_path / "output",
    )
    assert child.wait(PATIENCE) == 0
    child.kill()
    assert ((tmp_path / "output").read_text(), (tmp_path / "log").read_text()) == (
        "result\n",
        "talk\n",
    )

"""Name the test that hangs, with what it waits for, and let the run end in time.

pytest-timeout fails a test after TEST_TIMEOUT_S by a signal, so the run goes on. What it does not
see is seen here: where the tasks of an asynchronous test wait, and what hangs once more while it is
cleaned up, or in C. That ends the process, which pytest-xdist reports with the name of the test
(with --max-worker-restart=0, as in the Makefile: otherwise it would begin the same test again).
"""

import asyncio
import faulthandler
import os
import warnings
from collections.abc import Generator

import pytest

from ops import stacks
from tests.builders.patience import TEST_END_S

_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the process's own stderr: while a test runs it is a file of pytest's."""
    config.stash[_STDERR] = os.dup(2)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """End the process if the fixtures of a test hang for good."""
    return (yield from _ended_in_time(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """End the process if a test hangs, and no signal reaches it."""
    return (yield from _ended_in_time(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """End the process if what a test leaves behind hangs."""
    return (yield from _ended_in_time(item))


def _ended_in_time(item: pytest.Item) -> Generator[None, None, None]:
    marker = item.get_closest_marker("timeout")
    if marker is not None and marker.args == (0,):
        return (yield)
    faulthandler.dump_traceback_later(TEST_END_S, exit=True, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say at once which test took too long, and add where its tasks wait."""
    report = yield
    if call.excinfo is not None and str(call.excinfo.value).startswith("Timeout (>"):
        waits = _tasks()
        report.sections.append(("Tasks", waits))
        said = f"\n{item.nodeid} ({report.when}): {call.excinfo.value}\n{waits}"
        os.write(item.config.stash[_STDERR], said.encode())
    return report


def _tasks() -> str:
    """Return the stacks of the tasks that the test has left in its loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no loop: then there is no task
        try:
            loop = asyncio.get_event_loop_policy().get_event_loop()
        except RuntimeError:
            return ""
    return "".join(f"{task}:\n{stack}\n" for task, stack in stacks.of_tasks(loop))

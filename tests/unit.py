"""Which tests are unit tests, and what they may not do: the plugin behind `make unit`.

A test module is unit if no test in it asks for a part, that is for a fixture of tests/fixtures or
one that stands on such a fixture, and if it is not marked `integration`. That is read from the
source (`pytest --unit` does not even import the others) so there is no list to keep.

What nobody can read from the source is held at run time: a unit test that starts a process or opens
a socket fails, in every run, until it is marked `integration`.
"""

import ast
import gc
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from threading import current_thread, main_thread

import pytest

TESTS = Path(__file__).parent
INTEGRATION = "integration"
# Audit events (PEP 578) of what a unit test may not do. A bare socket.socket is none of them: each
# asyncio loop has a pair for itself.
FORBIDDEN = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.system",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "subprocess.Popen",
    }
)

_running = False
_seen: list[str] = []


@cache
def is_unit(module: Path) -> bool:
    """Return whether no test of the file `module` asks for a part or is marked as a whole."""
    tree = _parsed(module)
    return not _marked_whole(tree) and _asked_for(tree).isdisjoint(_on_a_part(module))


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def _parts() -> frozenset[str]:
    """Return the fixtures of tests/fixtures."""
    files = (TESTS / "fixtures").glob("*.py")
    return frozenset(name for file in files for name, _ in _fixtures(_parsed(file)))


def _on_a_part(module: Path) -> frozenset[str]:
    """Return the fixtures that `module` can see and that need a part, themselves or by others."""
    seen = [folder / "conftest.py" for folder in module.parents if folder.is_relative_to(TESTS)]
    found = _parts()
    asked = [pair for file in [*seen, module] if file.exists() for pair in _fixtures(_parsed(file))]
    while more := {
        name for name, asks in asked if name not in found and not found.isdisjoint(asks)
    }:
        found |= more
    return found


def _fixtures(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Yield each fixture with what it asks for."""
    for function in _functions(tree):
        if any("fixture" in ast.unparse(each) for each in function.decorator_list):
            yield function.name, _arguments(function)


def _asked_for(tree: ast.Module) -> set[str]:
    """Return what the tests of a module ask for: arguments, and names given to `usefixtures`."""
    tests = [each for each in _functions(tree) if each.name.startswith("test_")]
    calls = [
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr in ("usefixtures", "getfixturevalue")
    ]
    named = {
        each.value
        for call in calls
        for each in call.args
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }
    return named.union(*map(_arguments, tests))


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for each in ast.walk(tree):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield each


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    return {each.arg for each in [*function.args.args, *function.args.kwonlyargs]}


def _marked_whole(tree: ast.Module) -> bool:
    return any(
        isinstance(each, ast.Assign)
        and ast.unparse(each.targets[0]) == "pytestmark"
        and f"mark.{INTEGRATION}" in ast.unparse(each.value)
        for each in tree.body
    )


def _watch(event: str, _arguments: tuple[object, ...]) -> None:
    # Other threads may be left over from tests that are allowed to have them.
    if _running and event in FORBIDDEN and current_thread() is main_thread():
        _seen.append(event)
        raise RuntimeError(f"a unit test may not do this: {event}")


# For the life of the process: an audit hook cannot be taken out again.
sys.addaudithook(_watch)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--unit", action="store_true", help="run the unit tests alone (tests/unit.py)")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_module = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    skipped = config.getoption("--unit") and is_module and not is_unit(collection_path)
    return True if skipped else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if is_unit(item.path) and item.get_closest_marker(INTEGRATION) is None:
            item.add_marker(pytest.mark.unit)
    if config.getoption("--unit"):
        others = [item for item in items if item.get_closest_marker("unit") is None]
        items[:] = [item for item in items if item.get_closest_marker("unit") is not None]
        config.hook.pytest_deselected(items=others)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--unit"):
        gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare the collector what was imported: it stays to the end, and is half of the work."""
    if session.config.getoption("--unit"):
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _running  # noqa: PLW0603 - one test runs at a time in a process
    _running = item.get_closest_marker("unit") is not None
    try:
        return (yield)
    finally:
        _running = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a unit test that did what it may not, also where the code under test hid the error."""
    _seen.clear()
    result = yield
    if _seen:
        pytest.fail(
            f"{', '.join(sorted(set(_seen)))}: a unit test starts no process and opens no socket; "
            f"mark it `@pytest.mark.{INTEGRATION}`",
            pytrace=False,
        )
    return result

"""No test bounds a wait by a number of its own: all take it from tests/builders/patience.py."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import patience
from tests.builders.patience import PATIENCE_S, TEST_TIMEOUT_S

ROOT = Path(__file__).parent.parent
# What ends when its time is over: subprocess and urllib by `timeout`, the others by an argument.
CONSTANT = re.compile("PATIENCE|BOUND|TIMEOUT")
WAITS = ("wait", "wait_for", "timeout", "communicate", "result", "join")
# What a file with such a wait has in it: parsing all of them takes a tenth of `make unit`.
SUSPICIOUS = re.compile(rf"timeout=|\.(?:{'|'.join(WAITS)})\(\s*[^\s)'\"]|{CONSTANT.pattern}")


def own_bounds(source: str) -> Iterator[int]:
    """Yield the lines of the waits that end after a number, and of constants that are one."""
    if not SUSPICIOUS.search(source):
        return
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func, args, keywords):
                name = func.attr if isinstance(func, ast.Attribute) else ""
                given = [*args] if name in WAITS else []
                given += [each.value for each in keywords if each.arg == "timeout"]
                # Nought is no bound: pytest.mark.timeout(0) takes it away.
                if any(map(is_a_number, given)):
                    yield node.lineno
            case ast.Assign([ast.Name(name)], value) if CONSTANT.search(name):
                if is_a_number(value):
                    yield node.lineno


def is_a_number(value: ast.expr) -> bool:
    return (
        isinstance(value, ast.Constant)
        and isinstance(value.value, int | float)
        and value.value != 0
    )


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("subprocess.run(command, timeout=60)", [1]),
        ("process.wait(5)\nprocess.wait(PATIENCE_S)\nprocess.wait()", [1]),
        ("async with asyncio.timeout(5): pass", [1]),
        (
            "@pytest.mark.timeout(900)\ndef test(): pass\n@pytest.mark.timeout(0)\ndef two(): pass",
            [1],
        ),
        ("', '.join('ab')\nreadiness.wait_for(Part.KAFKA, 'no broker')", []),
        ("_PATIENCE_S = 60\nBOUND = PATIENCE_S / 2", [1]),
    ],
)
def test_a_bound_of_its_own_is_found(source: str, lines: list[int]) -> None:
    assert list(own_bounds(source.replace("async with", "with"))) == lines


def test_nobody_bounds_a_wait_by_a_number() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(patience.__file__)
        for line in own_bounds(path.read_text())
    ]
    assert not found, "\n".join(["take it from tests/builders/patience.py:", *found])


def test_pytests_own_bound_is_above_every_wait() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert options["timeout"] == TEST_TIMEOUT_S
    assert TEST_TIMEOUT_S > PATIENCE_S

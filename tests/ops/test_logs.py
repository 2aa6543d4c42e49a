"""One voice: each line JSON or text, each error with a code, whoever logs it."""

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops import logs
from ops.errors import LeaseLost

ROOT = Path(__file__).parents[2]
ERRORS = {"error", "exception", "critical"}
# What a line of Laurel's own is about is in its code; a library's has none.
CODED = ("minter", "ops")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure(json=True, stream=stream)
    yield stream
    logs.configure()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def raised() -> LeaseLost:
    try:
        raise LeaseLost("the lease holds 1 of 2 tasks")
    except LeaseLost as error:
        return error


def test_each_error_line_has_a_code(stream: io.StringIO) -> None:
    mine, theirs = logs.logger("minter"), logging.getLogger("some.library")
    mine.error("work_failed", code="answer_rejected")
    mine.error("work_failed")
    mine.error("work_failed", exc_info=raised())
    try:
        raise LeaseLost("the lease holds 1 of 2 tasks")
    except LeaseLost:
        mine.exception("work_failed")
    theirs.error("cannot be reached")
    theirs.critical("gives up", exc_info=raised())
    mine.warning("waited")
    theirs.warning("is slow")
    assert [line.get("code") for line in lines(stream)] == [
        "answer_rejected",
        "unknown",
        "lease_lost",
        "lease_lost",
        "library",
        "lease_lost",
        None,
        None,
    ]


def uncoded(source: str) -> list[int]:
    """Return the lines of calls that log an error without a code."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ERRORS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
        and "code" not in {given.arg for given in node.keywords}
    ]


def test_a_call_without_a_code_is_found() -> None:
    calls = 'log.error("a", code=1)\nlog.error("b")\nlog.warning("c")\nlog.exception("d", x=2)'
    assert uncoded(calls) == [2, 4]


@pytest.mark.parametrize("package", CODED)
def test_laurel_names_its_own_errors_where_it_logs_them(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    assert {
        f"{file.relative_to(ROOT)}:{line}" for file in files for line in uncoded(file.read_text())
    } == set()

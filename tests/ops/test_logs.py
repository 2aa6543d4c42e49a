"""What every line of the log has, wherever it is written."""

import ast
import io
import json
from collections.abc import Iterator
from pathlib import Path

from ops import logs

ROOT = Path(__file__).parents[2]
PACKAGES = ("ops", "store", "processor", "minter", "sandbox", "demo")
# Lines beside the error itself, which has its own: where the process stood when it ended.
OF_NO_ERROR = {"task_stack", "thread_stack"}


def lines_of_errors() -> Iterator[tuple[str, str, set[str]]]:
    """Yield of each call of `log.error`: where it is, the event, and the names of its fields."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(
                        func=ast.Attribute(
                            value=ast.Name(id="log"), attr="error" | "critical" | "exception"
                        )
                    ):
                        place = f"{path.relative_to(ROOT)}:{node.lineno}"
                        event = ast.unparse(node.args[0]).strip("'")
                        # `**fields` may hold it; the test of that module says so.
                        yield place, event, {each.arg or "code" for each in node.keywords}


def test_every_error_has_a_code() -> None:
    found = list(lines_of_errors())
    assert found
    assert [
        (place, event)
        for place, event, fields in found
        if "code" not in fields and event not in OF_NO_ERROR
    ] == []


def test_off_a_terminal_a_line_is_one_json_object() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    try:
        logs.logger("place").warning("part_lost", reason="a word\nand a line", number=1)
    finally:
        logs.configure()
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "event": "part_lost",
        "component": "place",
        "level": "warning",
        "reason": "a word\nand a line",
        "number": 1,
    }

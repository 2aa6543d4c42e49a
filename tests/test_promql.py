"""Prometheus takes what the boards ask, and the tests read it right."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.builders.boards import boards
from tests.builders.promql import Asked, Selector, asked


def test_prometheus_takes_every_expression_of_the_boards(promtool: Path, tmp_path: Path) -> None:
    # There is no check of an expression alone, but one of rules, no two of which may be the same.
    rules = [
        {
            "record": "checked",
            "expr": query.expression,
            "labels": {"panel": f"{board.name}: {panel.title}", "query": str(number)},
        }
        for board in boards()
        for panel in board.panels
        for number, query in enumerate(panel.queries("1m"))
    ]
    file = tmp_path / "expressions.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(rules)} rules found" in done.stdout


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up", Asked((Selector("up"),), frozenset())),
        (
            'sum by (a, b) (rate(laurel_x_total{c=~"d|e", f!="{g}"}[5m])) * 60 > 0',
            Asked(
                (Selector("laurel_x_total", 'c=~"d|e",f!="{g}"', frozenset("cf")),), frozenset("ab")
            ),
        ),
        (
            "max without (a) (x) / on (b) group_left () y offset 1h or 1e9 * inf",
            Asked((Selector("x"), Selector("y")), frozenset("ab")),
        ),
        (
            "laurel:x:ratio{w='1h'} and ignoring (w) min_over_time(z[1h:5m]) unless bool_x  # no_metric",
            Asked(
                (
                    Selector("laurel:x:ratio", "w='1h'", frozenset("w")),
                    Selector("z"),
                    Selector("bool_x"),
                ),
                frozenset("w"),
            ),
        ),
    ],
)
def test_what_an_expression_asks_for(expression: str, expected: Asked) -> None:
    assert asked(expression) == expected

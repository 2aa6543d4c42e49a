"""The alerts as deploy/prometheus/rules has them, and what their expressions are made of."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules" / "laurel.yml"

_SELECTOR = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_DURATION = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_NAME = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])")
_OPERATORS = {"and", "or", "unless", "bool"}


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of one severity."""

    name: str
    severity: str
    expression: str
    annotations: dict[str, str]


@dataclass(frozen=True, slots=True)
class Expression:
    """What an expression in PromQL names.

    `matchers` has a label with each value that it is compared with, by metric.
    """

    metrics: frozenset[str]
    matchers: frozenset[tuple[str, str, str]]
    grouped_by: frozenset[str]


@cache
def rules() -> list[dict[str, Any]]:
    """Return every rule, recording ones too."""
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


@cache
def alerts() -> list[Alert]:
    """Return the alerts; one that is a page and a ticket is two."""
    return [
        Alert(rule["alert"], rule["labels"]["severity"], rule["expr"], rule["annotations"])
        for rule in rules()
        if "alert" in rule
    ]


@cache
def recorded() -> dict[str, list[str]]:
    """Return the expressions of each recorded series."""
    found: dict[str, list[str]] = {}
    for rule in rules():
        if "record" in rule:
            found.setdefault(rule["record"], []).append(rule["expr"])
    return found


@cache
def parsed(expression: str) -> Expression:
    """Return what `expression` names. By its looks alone: promtool says whether it is valid."""
    matchers = frozenset(
        (metric, label, value)
        for metric, inner in _SELECTOR.findall(expression)
        for label, operator, values in _MATCHER.findall(inner)
        for value in (_alternatives(values) if "~" in operator else [values])
    )
    grouped_by = {
        label.strip()
        for labels in _GROUPING.findall(expression)
        for label in labels.split(",")
        if label.strip()
    }
    rest = re.sub(r"\{[^}]*\}", "", expression)
    for noise in (_GROUPING, _DURATION):
        rest = noise.sub(" ", rest)
    names = frozenset(_NAME.findall(rest)) - _OPERATORS
    return Expression(names, matchers, frozenset(grouped_by))


def _alternatives(pattern: str) -> Iterator[str]:
    """Yield what `a|b` and `x-(a|b)` match."""
    before, opened, rest = pattern.partition("(")
    inner, _, after = rest.partition(")")
    for each in (inner if opened else before).split("|"):
        yield f"{before}{each}{after}" if opened else each


@cache
def scraped(expression: str) -> frozenset[str]:
    """Return the metrics of processes that `expression` is made of, through recorded series."""
    names = parsed(expression).metrics
    below = [inner for name in names & recorded().keys() for inner in recorded()[name]]
    return (names - recorded().keys()).union(*map(scraped, below))

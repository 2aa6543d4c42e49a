"""The boards of deploy/grafana/dashboards, as the tests read them and as docs/boards.py draws
them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
NAMES = ("overview", "counting", "minting")
# Of a picture in docs/boards: pages with them are to open fast.
PICTURE_BYTES_MAX = 200_000
# Wider than code: an expression and what it is drawn with are read together.
_WIDTH = 150


@dataclass(frozen=True, slots=True)
class Query:
    """What a panel asks Prometheus, with Grafana's variables filled in, and what it calls it.

    `legend` is as Grafana has it, with labels in double braces; empty: every label.
    """

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel: `json` is all of it, `replaced` what stands for the board's variables."""

    board: str
    json: Mapping[str, Any]
    replaced: Mapping[str, str]

    @property
    def title(self) -> str:
        """Its title; empty where it has none."""
        return str(self.json.get("title", ""))

    @property
    def kind(self) -> str:
        """Grafana's name of the plugin that draws it."""
        return str(self.json["type"])

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Left, top, width and height on a grid of 24 columns."""
        position = self.json["gridPos"]
        return position["x"], position["y"], position["w"], position["h"]

    @property
    def defaults(self) -> Mapping[str, Any]:
        """How its values are shown."""
        return dict(self.json.get("fieldConfig", {}).get("defaults", {}))

    def queries(self, window: str) -> Sequence[Query]:
        """Return what it asks, with `window` for $__rate_interval."""
        return [
            Query(self._filled(target["expr"], window), target.get("legendFormat", ""))
            for target in self.json.get("targets", ())
        ]

    def _filled(self, expression: str, window: str) -> str:
        for name, value in ({"__rate_interval": window} | dict(self.replaced)).items():
            expression = expression.replace(f"${name}", value)
        return expression


@dataclass(frozen=True, slots=True)
class Board:
    """A board: `json` is all of it."""

    name: str
    json: Mapping[str, Any]

    @property
    def panels(self) -> Sequence[Panel]:
        """Its panels, in their order; every value of every variable is chosen."""
        replaced = {each["name"]: each["allValue"] for each in self.json["templating"]["list"]}
        return [Panel(self.name, each, replaced) for each in self.json["panels"]]


def path_of(name: str) -> Path:
    """Return where the board called `name` is."""
    return GRAFANA / "dashboards" / f"{name}.json"


def boards() -> Iterator[Board]:
    """Yield each board."""
    for name in NAMES:
        yield Board(name, json.loads(path_of(name).read_text()))


def written(document: Mapping[str, Any]) -> str:
    """Return the one way in which a board is written, so that people can read and compare it.

    What fits stands on a line, and short members of an object side by side.
    """
    return _text(document, 0, 0) + "\n"


def _text(value: Any, indent: int, used: int) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or indent + used + len(flat) <= _WIDTH:
        return flat
    is_object = isinstance(value, dict)
    members = value.items() if isinstance(value, dict) else [("", each) for each in value]
    lines: list[str] = []
    for name, member in members:
        key = f"{json.dumps(name)}: " if is_object else ""
        text = key + _text(member, indent + 2, len(key) + 1)
        before = lines[-1] if lines else ""
        fits = len(before) + len(text) + 3 <= _WIDTH  # a blank and two commas
        if is_object and lines and fits and "\n" not in before + text:
            lines[-1] = f"{before} {text},"
        else:
            lines.append(f"{' ' * (indent + 2)}{text},")
    lines[-1] = lines[-1][:-1]
    opening, closing = "{}" if is_object else "[]"
    return "\n".join([opening, *lines, " " * indent + closing])

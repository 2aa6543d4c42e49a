"""Curves as SVG, written by hand: a title, two axes, a line and its points for each series.

The background stays the page's; colours are ones that are seen on white and on black.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

FOLDER = Path(__file__).with_name("plots")
_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 48, 64
_COLOURS = ("#2f7ed8", "#d9772b", "#3a9a5b", "#a5469b")
_GREY = "#888888"
_TICKS = 5
_MARKS = 8  # that have room below the axis

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axes:
    """What the axes are called; `is_log`: x goes by powers of ten."""

    title: str
    x: str
    y: str
    is_log: bool = True


def write(name: str, axes: Axes, series: Mapping[str, Sequence[Point]]) -> Path:
    """Write the curves to plots/NAME.svg; return where that is."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.svg"
    path.write_text("\n".join(_lines(axes, series)) + "\n")
    return path


def _lines(axes: Axes, series: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    points = [point for line in series.values() for point in line]
    xs = [_scaled(x, axes) for x, _ in points]
    low, high = min(xs), max(xs)
    top = _round_up(max(y for _, y in points))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        part = (_scaled(x, axes) - low) / (high - low or 1)
        return _LEFT + width * part, _TOP + height * (1 - y / top)

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="{_GREY}">'
    )
    yield f'<text x="{_LEFT}" y="18" font-size="14">{escape(axes.title)}</text>'
    for step in range(_TICKS + 1):
        value = top * step / _TICKS
        _, y = place(points[0][0], value)
        yield (
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_GREY}" stroke-opacity="0.3"/>'
        )
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'
    marks = sorted({x for x, _ in points})
    for x in marks[:: -(-len(marks) // _MARKS)]:
        at, _ = place(x, 0)
        yield (
            f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
            f"{_number(x)}</text>"
        )
    middle = _LEFT + width / 2
    yield (
        f'<text x="{middle:.1f}" y="{_HEIGHT - 28}" text-anchor="middle">{escape(axes.x)}</text>'
    )
    yield f'<text x="{_LEFT}" y="{_TOP - 10}">{escape(axes.y)}</text>'
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = [place(x, y) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed)
        at = _LEFT + number * width / len(series)
        yield f'<text x="{at:.1f}" y="{_HEIGHT - 8}" fill="{colour}">{escape(name)}</text>'
    yield "</svg>"


def _scaled(x: float, axes: Axes) -> float:
    return math.log10(x) if axes.is_log else x


def _round_up(value: float) -> float:
    """Return the next number that divides well into ticks."""
    power = 10.0 ** math.floor(math.log10(value or 1))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= value)


def _number(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"

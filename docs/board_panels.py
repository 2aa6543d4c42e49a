"""Draw a panel of a Grafana board with matplotlib: what docs/boards.py puts side by side.

It knows what the boards of deploy/grafana use of Grafana, and no more.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, MultipleLocator

from docs.board_values import shown
from tests.builders.boards import Panel
from tests.builders.prometheus import Series

INK, FAINT, GRID = "#24292e", "#70767d", "#e4e7e7"
COLOURS = {"green": "#37872d", "orange": "#e0752d", "red": "#c4162a"}
# Told apart also by those who see red and green alike (Okabe and Ito).
_LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d1f", "#5f5f5f")
_SMALL, _TINY = 7.5, 6.8
_LEGEND_MAX = 9


@dataclass(frozen=True, slots=True)
class Drawn:
    """A panel with what Prometheus answered: (name in the legend, series) of all its queries."""

    panel: Panel
    series: Sequence[tuple[str, Series]]


def row(axes: Axes, drawn: Drawn) -> None:
    """Draw the heading of what follows."""
    axes.text(0, 0.4, drawn.panel.title, fontsize=10.5, weight="bold", color=INK, va="center")


def heading(axes: Axes, drawn: Drawn) -> None:
    """Draw a text panel: a line of Markdown."""
    words = drawn.panel.json["options"]["content"].lstrip("# ")
    axes.text(0.02, 0.4, words, fontsize=11, weight="bold", color=_LINES[0], va="center")


def stat(axes: Axes, drawn: Drawn) -> None:
    """Draw the newest value, in the colour of its threshold, above the curve that led there."""
    panel = drawn.panel
    _title(axes, panel.title)
    points = [point for _, each in drawn.series[:1] for point in each.points if _is_number(point)]
    if not points:
        _big(axes, panel.defaults.get("noValue", "No data"), FAINT)
        return
    value = points[-1][1]
    colour = COLOURS[_step(panel, value)]
    mapped = _mappings(panel).get(str(round(value)), {}).get("text")
    unit = panel.defaults.get("unit", "short")
    text = mapped or shown(value, unit, panel.defaults.get("decimals"))
    _big(axes, text, colour)
    if panel.json.get("options", {}).get("graphMode") != "none":
        curve = axes.inset_axes((0, 0, 1, 0.3))
        curve.axis("off")
        times, values = zip(*points, strict=True)
        curve.plot(times, values, color=colour, linewidth=0.9)
        low, high = min(values), max(values)
        curve.fill_between(times, values, low, color=colour, alpha=0.15, linewidth=0)
        curve.set_ylim(low - (high == low), high + (high == low))
        curve.margins(x=0)


def timeseries(axes: Axes, drawn: Drawn, begin: float, end: float) -> None:
    """Draw a curve for each series, and a legend below them."""
    panel = drawn.panel
    _title(axes, panel.title)
    columns = _legend_columns(axes, [name for name, _ in drawn.series])
    lines = -(-min(len(drawn.series), _LEGEND_MAX) // columns)
    pixels = axes.get_window_extent()
    below, left = 30 + 13 * lines, 10 + 5.3 * _label_length(drawn)
    plot = axes.inset_axes(
        (
            left / pixels.width,
            below / pixels.height,
            1 - (left + 48) / pixels.width,
            1 - (below + 32) / pixels.height,
        )
    )
    plots, tops = {"left": plot}, {"left": 0.0}
    custom = panel.defaults.get("custom", {})
    stacked: dict[float, float] = {}
    handles = []
    for colour, (name, each) in zip(cycle(_LINES), drawn.series, strict=False):
        side, unit = _overridden(panel, name)
        if side not in plots:
            plots[side], tops[side] = plot.twinx(), 0.0
            # The twin of an inset hides what is drawn below it.
            plots[side].patch.set_visible(False)
            _dress(plots[side], unit, begin, end)
        times, values = _with_gaps(each)
        if "stacking" in custom:
            low = [stacked.get(time, 0.0) for time in times]
            values = [under + value for under, value in zip(low, values, strict=True)]
            there = zip(times, values, strict=True)
            stacked |= {time: value for time, value in there if math.isfinite(value)}
            days = [_days(time) for time in times]
            plot.fill_between(days, low, values, color=colour, alpha=0.35, linewidth=0)
        style = "--" if side == "right" else "-"
        handles += plots[side].plot(
            [_days(time) for time in times], values, style, color=colour, linewidth=1.1, label=name
        )
        tops[side] = max([tops[side], *(value for value in values if math.isfinite(value))])
    for side, one in plots.items():
        one.set_ylim(min(one.get_ylim()[0], 0) if tops[side] else 0, tops[side] * 1.08 or 1)
    _dress(plot, panel.defaults.get("unit", "short"), begin, end, panel.defaults.get("decimals"))
    if "thresholdsStyle" in custom:
        _threshold(plot, panel)
    if handles:
        _legend(axes, handles, columns)
    else:
        _big(plot, panel.defaults.get("noValue", "No data"), FAINT)


def _with_gaps(series: Series) -> tuple[list[float], list[float]]:
    """Return times and values, with a value that is no number where some are missing."""
    times: list[float] = []
    values: list[float] = []
    steps = [later - time for (time, _), (later, _) in pairwise(series.points)]
    for time, value in series.points:
        if times and time - times[-1] > 1.5 * min(steps):
            times.append(times[-1] + min(steps))
            values.append(math.nan)
        times.append(time)
        values.append(value)
    return times, values


def _label_length(drawn: Drawn) -> int:
    """Return how many letters the longest label beside the axis has, or nearly."""
    unit = drawn.panel.defaults.get("unit", "short")
    values = [
        value
        for name, each in drawn.series
        for _, value in each.points
        if math.isfinite(value) and _overridden(drawn.panel, name)[0] == "left"
    ]
    return max(5, len(shown(0.75 * max(values, default=1), unit)))


def _legend_columns(axes: Axes, names: Sequence[str]) -> int:
    letters = max(map(len, names), default=1)
    return max(1, min(3, int(axes.get_window_extent().width / (30 + 5 * letters))))


def _legend(axes: Axes, handles: Sequence[Any], columns: int) -> None:
    more = len(handles) - _LEGEND_MAX
    found = axes.legend(
        handles=handles[:_LEGEND_MAX], loc="lower left", ncols=columns, fontsize=_TINY,
        frameon=False, bbox_to_anchor=(0.02, 0.0), handlelength=1.2, columnspacing=1.2,
        labelcolor=INK, borderpad=0.2, labelspacing=0.3,
        title=f"and {more} more" if more > 0 else None, title_fontsize=_TINY,
    )  # fmt: skip
    found.set_in_layout(False)


def timeline(axes: Axes, drawn: Drawn, begin: float, end: float) -> None:
    """Draw a bar for each series, coloured by its state."""
    panel, states = drawn.panel, _mappings(drawn.panel)
    _title(axes, panel.title)
    if not drawn.series:
        _big(axes, "No data", FAINT)
        return
    plot = axes.inset_axes((0.24, 0.26, 0.73, 0.54))
    for place, (_, each) in enumerate(drawn.series):
        points = [*each.points, (end, each.points[-1][1])]
        for (time, value), (following, _) in pairwise(points):
            state = states.get(str(round(value)), {"color": "red"})
            span = (_days(time), _days(following) - _days(time))
            plot.broken_barh(
                [span], (place - 0.38, 0.76), color=COLOURS[state["color"]], linewidth=0
            )
    plot.set_yticks(range(len(drawn.series)), [name for name, _ in drawn.series])
    plot.set_ylim(len(drawn.series) - 0.4, -0.6)
    _dress(plot, None, begin, end)
    for place, state in enumerate(states.values()):
        colour, words = COLOURS[state["color"]], f"■ {state['text']}"
        axes.text(0.24 + 0.2 * place, 0.05, words, fontsize=_TINY, color=colour)


def table(axes: Axes, drawn: Drawn) -> None:
    """Draw the labels of each series as a line."""
    panel = drawn.panel
    _title(axes, panel.title)
    options = panel.json["transformations"][0]["options"]
    hidden, renamed = options["excludeByName"], options.get("renameByName", {})
    rows = [{k: v for k, v in each.labels.items() if k not in hidden} for _, each in drawn.series]
    if not rows:
        _big(axes, panel.defaults.get("noValue", "No data"), FAINT)
        return
    names = list(rows[0])
    lefts = [0.03 + 0.94 * place / len(names) for place in range(len(names))]
    pixels = axes.get_window_extent().height
    for left, name in zip(lefts, names, strict=True):
        axes.text(left, 1 - 38 / pixels, renamed.get(name, name), fontsize=_TINY, color=FAINT)
        for number, labels in enumerate(rows[: int((pixels - 45) / 16)]):
            below = 1 - (56 + 16 * number) / pixels
            axes.text(left, below, labels.get(name, ""), fontsize=_SMALL, color=INK)


def _title(axes: Axes, words: str) -> None:
    height = axes.get_window_extent().height
    axes.text(0.02, 1 - 13 / height, words, fontsize=8.5, weight="bold", color=INK, va="center")


def _big(axes: Axes, words: str, colour: str) -> None:
    axes.text(
        0.5, 0.52, words, fontsize=17 if len(words) < 12 else 12, color=colour, ha="center",
        va="center", transform=axes.transAxes,
    )  # fmt: skip


def _dress(
    plot: Axes, unit: str | None, begin: float, end: float, decimals: int | None = None
) -> None:
    """Give a plot its axes: time below, values in `unit` beside."""
    plot.set_xlim(_days(begin), _days(end))
    marks = range(math.ceil(begin / 180) * 180, int(end), 180)
    plot.set_xticks(
        [_days(mark) for mark in marks],
        [f"{datetime.fromtimestamp(mark, UTC):%H:%M}" for mark in marks],
    )
    plot.tick_params(labelsize=_TINY, colors=FAINT, length=0)
    for spine in plot.spines.values():
        spine.set_visible(False)
    if unit is None:
        return
    plot.grid(axis="y", color=GRID, linewidth=0.7)
    plot.set_axisbelow(True)
    plot.yaxis.set_major_locator(_marks(plot, unit, decimals))
    plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, unit, decimals)))


def _marks(plot: Axes, unit: str, decimals: int | None) -> Locator:
    """Return where an axis has its marks: at round numbers, in `unit`."""
    if unit == "bytes":
        return MultipleLocator(2 ** math.ceil(math.log2(plot.get_ylim()[1] / 4)))
    steps = (1, 3, 6, 10) if unit == "s" else (1, 2, 5, 10)
    return MaxNLocator(4, steps=steps, integer=decimals == 0)


def _threshold(plot: Axes, panel: Panel) -> None:
    for each in panel.defaults["thresholds"]["steps"]:
        if each["value"] is not None and each["value"] <= 3 * plot.get_ylim()[1]:
            plot.set_ylim(top=max(plot.get_ylim()[1], each["value"] * 1.1))
            plot.axhline(each["value"], color=COLOURS[each["color"]], linewidth=1, linestyle=":")


def _overridden(panel: Panel, name: str) -> tuple[str, str]:
    """Return at which side a series has its axis, and its unit."""
    side, unit = "left", panel.defaults.get("unit", "short")
    for each in panel.json["fieldConfig"]["overrides"]:
        pattern = each["matcher"]["options"]
        if each["matcher"]["id"] == "byName":
            pattern = re.escape(pattern)
        if re.fullmatch(pattern, name):
            found = {one["id"]: one["value"] for one in each["properties"]}
            side = found.get("custom.axisPlacement", side)
            unit = found.get("unit", unit)
    return side, unit


def _step(panel: Panel, value: float) -> str:
    steps = panel.defaults.get("thresholds", {"steps": [{"color": "green", "value": None}]})
    reached = [each for each in steps["steps"] if each["value"] is None or value >= each["value"]]
    return str(reached[-1]["color"])


def _mappings(panel: Panel) -> Mapping[str, Any]:
    found = panel.defaults.get("mappings", [])
    return dict(found[0]["options"]) if found else {}


def _is_number(point: tuple[float, float]) -> bool:
    return math.isfinite(point[1])


def _days(time: float) -> float:
    return float(date2num(datetime.fromtimestamp(time, UTC)))

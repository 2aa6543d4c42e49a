"""Write values and names of series as Grafana does: those units that the boards use."""

import math
import re
from collections.abc import Mapping

_SCALES = {
    "s": ((0.001, " ms"), (1, " s"), (60, " min"), (3600, " h"), (86400, " d")),
    "short": ((1, ""), (1e3, " K"), (1e6, " M")),
    "bytes": ((1, " B"), (2**10, " KiB"), (2**20, " MiB"), (2**30, " GiB")),
}


def named(legend: str, labels: Mapping[str, str]) -> str:
    """Return the name that Grafana gives a series."""
    if not legend:
        return ", ".join(f"{key}={value}" for key, value in labels.items() if key != "__name__")
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend).strip()


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """Return a value as Grafana shows it in `unit`."""
    if math.isnan(value):
        return "NaN"
    if unit == "percentunit":
        return f"{_number(value * 100, decimals)}%"
    if steps := _SCALES.get(unit):
        size, word = max((step for step in steps if abs(value) >= step[0]), default=min(steps))
        return f"{_number(value / size, decimals)}{word}"
    # Grafana puts a blank before a word of one's own.
    return _number(value, decimals) + unit.replace("suffix:", " ")


def _number(value: float, decimals: int | None) -> str:
    if decimals is None:
        decimals = 0 if abs(value) >= 100 or value == round(value) else 1 if abs(value) >= 10 else 2
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

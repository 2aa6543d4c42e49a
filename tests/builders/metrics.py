"""How far a run moved the metrics of this process."""

from collections.abc import Iterable

from prometheus_client import REGISTRY

Labels = tuple[str, ...]


class Moved:
    """What the metrics gained since this was made.

    The registry is the process's: what other tests did before is in it.
    """

    def __init__(self) -> None:
        self._before = _samples()

    def by(self, sample: str) -> dict[Labels, float]:
        """Return by how much the series of `sample` moved, by label values; unmoved are absent.

        `sample` is a series' name as /metrics has it: `…_total`, `…_count`, or a gauge's.
        """
        now, before = _samples().get(sample, {}), self._before.get(sample, {})
        moved = {labels: value - before.get(labels, 0.0) for labels, value in now.items()}
        return {labels: value for labels, value in moved.items() if value}


def shown(sample: str, labels: Iterable[Labels]) -> dict[Labels, float]:
    """Return what the series of `sample` with these label values show now.

    Raises:
        KeyError: one was never set.
    """
    series = _samples()[sample]
    return {each: series[each] for each in labels}


def value(sample: str, *labels: str) -> float:
    """Return what one series shows now."""
    return shown(sample, [labels])[labels]


def series(sample: str) -> dict[Labels, float]:
    """Return what every series of `sample` shows now, by its label values."""
    return _samples().get(sample, {})


def _samples() -> dict[str, dict[Labels, float]]:
    found: dict[str, dict[Labels, float]] = {}
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found

"""A small table of rates.

Ours, the peers and limits of the same run, and the ratios that matter.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Rate:
    """How many units one contender did, in how much time and how much CPU of this process."""

    name: str
    units: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @contextmanager
    def doing(self, units: int) -> Iterator[None]:
        """Time the block, which does `units`."""
        started, cpu = time.perf_counter(), time.process_time()
        yield
        self.add(units, time.perf_counter() - started, time.process_time() - cpu)

    def add(self, units: int, seconds: float, cpu_seconds: float = 0.0) -> None:
        """Add what was timed elsewhere."""
        self.units += units
        self.seconds += seconds
        self.cpu_seconds += cpu_seconds

    @property
    def per_second(self) -> float:
        """Return units a second."""
        return self.units / self.seconds

    def __add__(self, other: "Rate") -> "Rate":
        """Return one after the other over the same units."""
        return Rate(
            f"{self.name}, {other.name}",
            self.units,
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
        )


def show(rates: list[Rate], unit: str = "events") -> None:
    """Print a line for each.

    The CPU is this process's alone, and left out where the work is done elsewhere.
    """
    width = max(len(rate.name) for rate in rates)
    print(f"  {'':{width}}  {unit + '/s':>12}  {'us each':>8}  {'CPU us':>7}")
    for rate in rates:
        each = 1e6 * rate.seconds / rate.units
        cpu = f"{1e6 * rate.cpu_seconds / rate.units:7.1f}" if rate.cpu_seconds else f"{'':7}"
        print(f"  {rate.name:{width}}  {rate.per_second:12,.0f}  {each:8.1f}  {cpu}")


def ratio(ours: Rate, other: Rate, aim: str = "") -> None:
    """Print ours / other."""
    word = f"   (aim: {aim})" if aim else ""
    print(f"  {ours.name} / {other.name}: {ours.per_second / other.per_second:.2f}{word}")

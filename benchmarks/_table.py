"""A small table of rates.

Ours, the peers and limits of the same run, and the ratios that matter.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Rate:
    """How many units one contender did, in how much time and how much CPU.

    `cpu_seconds` is the client's, `backend_seconds` that of one backend of PostgreSQL, or of all of
    it where processes are measured from outside, `broker_seconds` the broker's.
    """

    name: str
    units: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    backend_seconds: float = 0.0
    broker_seconds: float = 0.0

    @contextmanager
    def doing(self, units: int, backend: int | None = None) -> Iterator[None]:
        """Time the block, which does `units`; `backend` is the pid of its PostgreSQL backend."""
        before = _cpu_seconds_of(backend)
        started, cpu = time.perf_counter(), time.process_time()
        yield
        self.add(units, time.perf_counter() - started, time.process_time() - cpu)
        self.backend_seconds += _cpu_seconds_of(backend) - before

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
            self.backend_seconds + other.backend_seconds,
            self.broker_seconds + other.broker_seconds,
        )


def _cpu_seconds_of(pid: int | None) -> float:
    # The first number of schedstat: nanoseconds on a CPU (Linux, sched-stats). 0 elsewhere.
    place = Path(f"/proc/{pid}/schedstat")
    return int(place.read_text().split()[0]) / 1e9 if pid and place.exists() else 0.0


def show(rates: list[Rate], unit: str = "events") -> None:
    """Print a line for each, with the microseconds of CPU of an event and how many cores were busy.

    The CPU is the client's, the database's and the broker's; left out where nobody looked.
    """
    width = max(len(rate.name) for rate in rates)
    has_broker = any(rate.broker_seconds for rate in rates)
    heads = f"{unit + '/s':>12}  {'us each':>8}  {'CPU us':>7}  {'backend':>7}"
    print(f"  {'':{width}}  {heads}" + (f"  {'broker':>7}  {'cores':>5}" if has_broker else ""))
    for rate in rates:
        each = 1e6 * rate.seconds / rate.units
        parts = [rate.cpu_seconds, rate.backend_seconds]
        cores = ""
        if has_broker:
            parts.append(rate.broker_seconds)
            cores = f"{sum(parts) / rate.seconds:5.2f}"
        cpu = "  ".join(f"{1e6 * part / rate.units:7.1f}" if part else " " * 7 for part in parts)
        print(
            f"  {rate.name:{width}}  {rate.per_second:12,.0f}  {each:8.1f}  {cpu}  {cores}".rstrip()
        )


def backend_ratio(ours: Rate, other: Rate, aim: str = "") -> None:
    """Print how much of PostgreSQL's CPU the other takes for each of what ours takes."""
    if not ours.backend_seconds:
        return
    found = (other.backend_seconds / other.units) / (ours.backend_seconds / ours.units)
    word = f"   (aim: {aim})" if aim else ""
    print(f"  backend's CPU, {other.name} / {ours.name}: {found:.2f}{word}")


def ratio(ours: Rate, other: Rate, aim: str = "") -> None:
    """Print ours / other."""
    word = f"   (aim: {aim})" if aim else ""
    print(f"  {ours.name} / {other.name}: {ours.per_second / other.per_second:.2f}{word}")

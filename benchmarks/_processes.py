"""Who used the processors and the memory: of a process and all that it started, from /proc.

Linux alone; nothing anywhere else. Two cores are shared by a worker, PostgreSQL's backends and a
broker: a rate says little where one does not see who had them.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the name, as proc(5) counts them, less the three before it.
_PARENT, _TIMES = 1, slice(11, 15)  # utime, stime, and the same of children that have ended
_KIBIBYTE = 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of CPU until now: of the clients, of PostgreSQL with its backends, of the broker."""

    client: float = 0.0
    database: float = 0.0
    broker: float = 0.0

    def __sub__(self, before: "Usage") -> "Usage":
        """Return what was used since `before`."""
        return Usage(
            self.client - before.client,
            self.database - before.database,
            self.broker - before.broker,
        )


def cpu_seconds(roots: Iterable[int], *, alone: bool = False) -> float:
    """Return the seconds of CPU of `roots` and of all that they started, ended ones included.

    Args:
        roots: pids.
        alone: of `roots` themselves, for a process that has started its own peers.
    """
    stats = _stats()
    if alone:
        return sum(sum(stats[pid][1][:2]) for pid in roots if pid in stats)
    return sum(sum(stats[pid][1]) for pid in _with_descendants(roots, stats))


def peak_memory(pid: int) -> int:
    """Return the most memory that a process had at a time, in bytes (VmHWM); 0 if unknown."""
    return _memory(pid, "VmHWM:")


def memory(pid: int) -> int:
    """Return the memory that a process has now, in bytes (VmRSS); 0 if unknown."""
    return _memory(pid, "VmRSS:")


def machine_seconds() -> tuple[float, float]:
    """Return the seconds in which the processors of the machine worked, and did not, so far."""
    try:
        times = [int(word) for word in (_PROC / "stat").read_text().split("\n")[0].split()[1:9]]
    except OSError:
        return 0.0, 0.0
    idle = times[3] + times[4]
    return (sum(times) - idle) / _TICKS, idle / _TICKS


def load() -> str:
    """Return the machine's load, to be printed beside what was measured under it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"load {', '.join(f'{each:.1f}' for each in os.getloadavg())} on {cores} cores"


def _memory(pid: int, name: str) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * _KIBIBYTE for line in lines if line.startswith(name)), 0)


def _stats() -> dict[int, tuple[int, list[float]]]:
    """Return of each process its parent, and its seconds of CPU and its ended children's."""
    found: dict[int, tuple[int, list[float]]] = {}
    for place in _PROC.glob("[0-9]*/stat"):
        try:
            # The name stands in parentheses, and may hold anything.
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        times = [int(ticks) / _TICKS for ticks in fields[_TIMES]]
        found[int(place.parent.name)] = int(fields[_PARENT]), times
    return found


def _with_descendants(
    roots: Iterable[int], stats: dict[int, tuple[int, list[float]]]
) -> Iterable[int]:
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in stats.items():
        children.setdefault(parent, []).append(pid)
    waiting = [pid for pid in roots if pid in stats]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, [])

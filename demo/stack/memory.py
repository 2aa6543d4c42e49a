"""Measure the peak memory of the demo, all its processes together."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

_PROC = Path("/proc")
_EVERY = timedelta(seconds=1)


def tree_bytes(root: int | None = None) -> int | None:
    """Return the memory (proportional set size) of a process and its descendants in bytes.

    None where /proc does not tell.

    PSS divides what processes share among them; adding up RSS would count PostgreSQL's shared
    buffers once a backend.
    """
    if not (_PROC / "self" / "smaps_rollup").exists():
        return None
    return sum(map(_pss, family(root or os.getpid())))


def family(root: int) -> list[int]:
    """Return a process and its descendants, as /proc knows them."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children[parent].append(int(entry.name))
    found = [root]
    # The list grows while it is walked.
    for pid in found:
        found += children[pid]
    return found


def _parent(entry: Path) -> int | None:
    try:
        # pid (name) state parent ...; the name may hold blanks and brackets (proc(5)).
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _pss(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        # It ended meanwhile, or is another user's.
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


@asynccontextmanager
async def watched() -> AsyncIterator["Peak"]:
    """Measure while the block runs."""
    peak = Peak()

    async def measure() -> None:
        while True:
            peak.note(await asyncio.to_thread(tree_bytes))
            await asyncio.sleep(_EVERY.total_seconds())

    measuring = asyncio.create_task(measure())
    try:
        yield peak
    finally:
        measuring.cancel()
        with suppress(asyncio.CancelledError):
            await measuring


class Peak:
    """The most that was seen, in bytes; None where it cannot be measured."""

    def __init__(self) -> None:
        self.bytes: int | None = None

    def note(self, measured: int | None) -> None:
        """Take in one measurement."""
        if measured is not None:
            self.bytes = max(measured, self.bytes or 0)

"""Show a run's progress: bars on a terminal, a plain line now and then elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from ops.clock import SYSTEM_CLOCK, Clock

_LINE_EVERY_SECONDS = 5.0


class View:
    """Shows progress on stderr; the result is for stdout. Use it as a context."""

    def __init__(self, console: Console | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:>22}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._shown: dict[str, tuple[int, int]] = {}
        self._began = self._clock.monotonic()
        self._last_line = self._began

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()

    def finish(self) -> None:
        """Draw no more; what is said from now on is plain. Finishing twice is fine."""
        self._bars.stop()

    @property
    def elapsed_seconds(self) -> float:
        """Return the time since the view was made."""
        return self._clock.monotonic() - self._began

    def say(self, words: str) -> None:
        """Tell that something happened."""
        self._bars.console.print(
            f"{self.elapsed_seconds:6.1f} s  {words}", markup=False, highlight=False, soft_wrap=True
        )
        self._last_line = self._clock.monotonic()

    def show(self, progress: dict[str, tuple[int, int]]) -> None:
        """Show how far things are: name -> (done, of how many)."""
        for name, (done, total) in progress.items():
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total)
            self._bars.update(self._tasks[name], completed=done, total=total)
        due = self._clock.monotonic() - self._last_line >= _LINE_EVERY_SECONDS
        if not self._console.is_terminal and due and progress != self._shown:
            self.say(
                ", ".join(f"{name} {done} of {total}" for name, (done, total) in progress.items())
            )
            self._shown = dict(progress)

"""The body of `laurel status`: sources that look again and again, and one screen of what they saw.

Each package lists its own sources in a `status.py`; cli.py gathers them. A source only looks, and
looks by itself: where its part does not answer its sections say so, and the others are shown.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from ops.checks import CheckState, Remark, Said
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError, UsageError
from ops.quantities import shown_age
from ops.settings import Settings

# A look takes the sum of a few bounded questions; what takes longer is told as an answer missing.
PATIENCE = timedelta(seconds=12)
EVERY = timedelta(seconds=2)
# What was given up closes its connections meanwhile.
_GRACE_S = 2.0

_WORST_FIRST = (CheckState.FAIL, CheckState.WARN, CheckState.OK)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the screen."""

    label: str
    said: Said

    @property
    def state(self) -> CheckState:
        """Return whether a person should look."""
        return self.said.state if isinstance(self.said, Remark) else CheckState.OK

    @property
    def text(self) -> str:
        """Return what it says."""
        return self.said.detail if isinstance(self.said, Remark) else self.said


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the screen; `facts` are the same for machines."""

    title: str
    rows: tuple[Row, ...]
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def state(self) -> CheckState:
        """Return the worst state of its rows."""
        return worst(row.state for row in self.rows)


Look = Callable[[], Awaitable[Sequence[Section]]]


@dataclass(frozen=True, slots=True)
class StatusSource:
    """Something to look at.

    Args:
        titles: of the sections that it tells, in their order.
        needs: names of the settings without which there is nothing to look at.
        open: connects; what it yields looks once.
    """

    titles: tuple[str, ...]
    needs: tuple[str, ...]
    open: Callable[[Settings], AbstractAsyncContextManager[Look]]


def worst(states: Iterable[CheckState]) -> CheckState:
    """Return the worst of `states`."""
    found = set(states)
    return next((each for each in _WORST_FIRST if each in found), CheckState.OK)


class Board:
    """What the sources saw last.

    Args:
        sources: in the order of the screen.
        settings: the operator's; sources that lack one are left out.
        clock: for how long an answer is missing.
    """

    def __init__(
        self, sources: Iterable[StatusSource], settings: Settings, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sources = [
            each
            for each in sources
            if all(getattr(settings, name) is not None for name in each.needs)
        ]
        self._seen = dict[int, Sequence[Section]]()
        self._seen_at = [clock.monotonic()] * len(self._sources)
        self._first = [asyncio.Event() for _ in self._sources]

    def require(self) -> None:
        """Return where there is anything to look at.

        Raises:
            UsageError: not one of the addresses is set.
        """
        if not self._sources:
            raise UsageError(
                "There is nothing to look at: set LAUREL_DATABASE_URL, LAUREL_KAFKA_BROKERS or "
                "LAUREL_TON_CONFIG."
            )

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Look again and again while the block runs."""
        tasks = [asyncio.create_task(self._follow(number)) for number in range(len(self._sources))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_GRACE_S)

    async def filled(self, patience: timedelta = PATIENCE) -> None:
        """Return once every source was seen, or after `patience`."""
        waits = [asyncio.create_task(each.wait()) for each in self._first]
        if waits:
            await asyncio.wait(waits, timeout=patience.total_seconds())
        for wait in waits:
            wait.cancel()

    def sections(self) -> list[Section]:
        """Return the sections as they were seen last; what is long ago counts as not answered."""
        found: list[Section] = []
        now = self._clock.monotonic()
        for number, source in enumerate(self._sources):
            silent = timedelta(seconds=now - self._seen_at[number])
            if number in self._seen and silent <= PATIENCE:
                found += self._seen[number]
            else:
                found += _unanswered(source, f"no answer for {shown_age(silent)}")
        return found

    async def _follow(self, number: int) -> None:
        source = self._sources[number]
        while True:
            try:
                async with source.open(self._settings) as look:
                    while True:
                        self._see(number, await look())
                        await self._clock.sleep(EVERY)
            except Exception as error:  # noqa: BLE001 - whatever one source meets, the others go on
                self._see(number, _unanswered(source, _reason(error)))
            await self._clock.sleep(EVERY)

    def _see(self, number: int, sections: Sequence[Section]) -> None:
        self._seen[number] = sections
        self._seen_at[number] = self._clock.monotonic()
        self._first[number].set()


def _unanswered(source: StatusSource, reason: str) -> list[Section]:
    said = Remark(CheckState.FAIL, reason)
    return [Section(title, (Row("unknown", said),)) for title in source.titles]


def _reason(error: Exception) -> str:
    match error:
        case LaurelError():
            return error.message
        case TimeoutError():
            return "no answer in time"
        case _:
            return f"{type(error).__name__}: {error}"


def document(sections: Sequence[Section], clock: Clock = SYSTEM_CLOCK) -> dict[str, object]:
    """Return the screen for machines."""
    return {
        "at": clock.now().isoformat(timespec="seconds"),
        "state": worst(each.state for each in sections).value,
        "sections": {
            each.title: {
                "state": each.state.value,
                "problems": [row.text for row in each.rows if row.state is not CheckState.OK],
                **each.facts,
            }
            for each in sections
        },
    }


def lines(
    sections: Sequence[Section], clock: Clock = SYSTEM_CLOCK
) -> Iterator[tuple[CheckState, str]]:
    """Yield the screen for people, a row a line: its state, section, label and what it says.

    Without empty lines: a terminal of 24 lines shows all of it where all is well.
    """
    yield CheckState.OK, f"Laurel at {clock.now():%Y-%m-%d %H:%M:%S} UTC"
    title_width = max((len(each.title) for each in sections), default=0)
    width = max((len(row.label) for each in sections for row in each.rows), default=0)
    for each in sections:
        title = each.title
        for row in each.rows:
            mark = "" if row.state is CheckState.OK else row.state.value
            first, *others = row.text.splitlines() or [""]
            head = f"{mark:<4}  {title:<{title_width}}  {row.label:<{width}}  "
            yield row.state, f"{head}{first}".rstrip()
            yield from ((row.state, f"{'':<{len(head)}}{line}") for line in others)
            title = ""

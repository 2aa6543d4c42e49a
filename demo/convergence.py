"""Wait until nothing is left to do, or until nothing moves any more.

The second ends with clear words about what is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from demo.oracle.expected import ExpectedOutcome
from demo.progress import View
from demo.result import counted
from demo.stack.publisher import Ends
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import Permanent
from store import inspection
from store.engine import Database
from store.inspection import Figures

_POLL = timedelta(milliseconds=200)
# Longer than a killed worker's session, a killed minter's lease and a rebalance together.
_STALLED_AFTER = timedelta(seconds=60)


class Stalled(Permanent):
    """Nothing moves any more, and it is not finished; the message says what is missing."""

    code = "stalled"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a phase must come to, in the figures' terms."""

    events: int
    letters: int
    badges: int
    tokens: int
    burned: int

    @classmethod
    def of(cls, expected: ExpectedOutcome) -> "Goal":
        """Return the goal that `expected` sets."""
        return cls(
            events=expected.events,
            letters=expected.letters.total(),
            badges=len(expected.badges),
            tokens=len(expected.tokens),
            burned=sum(badge.burned for badge in expected.badges.values()),
        )

    def progress(self, found: Figures) -> dict[str, tuple[int, int]]:
        """Return how far `found` is: name -> (done, of how many)."""
        return {
            "events counted": (found.events, self.events),
            "dead letters": (found.letters, self.letters),
            "badges": (found.badges, self.badges),
            "tokens": (found.tokens, self.tokens),
            "burned": (found.burned, self.burned),
        }

    def missing(self, found: Figures) -> list[str]:
        """Return what is not as it should be, in words."""
        return [
            f"{name}: {counted(done)} of {counted(total)}"
            for name, (done, total) in self.progress(found).items()
            if done != total
        ]


class WatchedStack(Protocol):
    """What is waited for: a demo.stack.processes.Stack."""

    @property
    def cluster_id(self) -> str:
        """Return whose offsets the ledger holds."""

    def check(self) -> None:
        """Raise PartFailed once a service has ended by itself."""


class Watch:
    """Looks at a stack at work."""

    def __init__(
        self,
        stack: WatchedStack,
        database: Database,
        view: View,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._clock = clock
        self._stack = stack
        self._database = database
        self._view = view

    async def figures(self) -> Figures:
        """Return how far things are."""
        async with self._database.transaction() as conn:
            return await inspection.figures(conn)

    async def until(self, what: str, reached: Callable[[Figures], bool], goal: Goal) -> Figures:
        """Return the first figures of which `reached` holds.

        Raises:
            Stalled: the figures stood still for a long time; `what` and the goal say what was
                waited for.
            PartFailed: a worker or the minter ended by itself.
        """
        last, moved = None, self._clock.monotonic()
        while True:
            self._stack.check()
            found = await self.figures()
            self._view.show(goal.progress(found))
            if reached(found):
                return found
            if found != last:
                last, moved = found, self._clock.monotonic()
            elif self._clock.monotonic() - moved > _STALLED_AFTER.total_seconds():
                seconds = _STALLED_AFTER.total_seconds()
                raise Stalled(f"{what}: nothing moved for {seconds:g} s. {self._gap(goal, found)}")
            await self._clock.sleep(_POLL)

    async def settled(self, goal: Goal, ends: Ends) -> None:
        """Return once every message is read and nothing is left to do, be it the goal or not.

        Raises:
            Stalled: something is left to do, and nothing moves.
        """
        await self.until(
            "counting",
            lambda found: found.events >= goal.events and found.letters >= goal.letters,
            goal,
        )
        await self.read(ends)
        await self.until(
            "minting",
            lambda found: (
                found.open_tasks == 0
                and found.tokens >= goal.tokens
                and found.burned >= goal.burned
            ),
            goal,
        )

    async def read(self, ends: Ends) -> None:
        """Return once the ledger is past the last message of every partition.

        What comes behind the last event counts too.

        Raises:
            Stalled: it does not move any more.
        """
        unread: dict[tuple[str, int], str] = {}

        async def look() -> bool:
            async with self._database.transaction() as conn:
                reached = await inspection.ledger(conn, self._stack.cluster_id)
            unread.clear()
            for (topic, partition), end in sorted(ends.items()):
                position = reached.get((topic, partition), 0)
                if position < end:
                    unread[topic, partition] = f"{topic}/{partition} read to {position} of {end}"
            return not unread

        deadline = self._clock.monotonic() + _STALLED_AFTER.total_seconds()
        while not await look():
            self._stack.check()
            if self._clock.monotonic() > deadline:
                raise Stalled("; ".join(unread.values()))
            await self._clock.sleep(_POLL)

    @staticmethod
    def _gap(goal: Goal, found: Figures) -> str:
        missing = goal.missing(found) or ["every figure is right"]
        return (
            f"{'; '.join(missing)}; {found.open_tasks} tasks open, "
            f"{found.held_tasks} waiting for a wallet."
        )

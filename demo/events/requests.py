"""Generate the commands, and whatever else needs a badge or a token to exist.

Users' requests, awards by hand, an operator's revocation, requests that must be rejected, and
requests that wait for a badge or a token: some for ever, some for what the same phase brings.

Phase 2 is sent once phase 1 is counted and minted, phase 3 once phase 2 is, phase 4 once the burns
of phase 3 are on chain.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count

from demo.cloudevents import Event, binary, structured
from demo.events.activity import BEGIN, YEAR
from demo.events.wallet_histories import WalletHistories
from demo.oracle.catalog import Badges
from demo.oracle.expected import ExpectedOutcome, Holder, Oracle
from demo.records import Record
from ops.clock import SYSTEM_CLOCK

# Share of the badges whose token is for the asking that are asked for.
ASKED = 0.4
BURNED = 12
# Of each kind of request that must be rejected, or waits for ever.
REFUSED = 3
# Requests that overtake the event that earns their badge.
EARLY = 20
# Badges that are awarded by hand, and as many that are raised so.
AWARDED = 10
# Requests sent again as they were, and as many with their external_id and other content.
REPEATED = 5
# Quests of each user whose badge is gone: enough for the highest level.
AFTERWARDS = 25
# One partner earns its level 1, which may be minted on request.
_BY_PARTNER = "ambassador"
_SOURCE = "/bot-service/requests"
_MOMENT = BEGIN + YEAR + timedelta(days=1)


class Requests:
    """Writes phases 2 to 4 for what phase 1 comes to."""

    def __init__(self, rng: random.Random, badges: Badges) -> None:
        self._rng = rng
        self._badges = badges
        self._numbers = count(1)

    def write(self, first: Sequence[Record], histories: WalletHistories) -> list[Record]:
        """Return the messages of phases 2, 3 and 4, given those of phase 1."""
        oracle = Oracle(self._badges, SYSTEM_CLOCK.now())
        oracle.read_phase(first)
        asking = [*histories.late_links(), *self._asking(oracle.outcome())]
        second = [
            binary(event, 2) if number % 2 else structured(event, 2)
            for number, event in enumerate(asking)
        ]
        oracle.read_phase(second)
        parting = [*histories.farewells(), *self._parting(oracle.outcome()), *self._again(asking)]
        third = [structured(event, 3) for event in parting]
        oracle.read_phase(third)
        fourth = [structured(event, 4) for event in self._afterwards(oracle.outcome())]
        return [*second, *third, *fourth]

    def _asking(self, earned: ExpectedOutcome) -> Iterator[Event]:
        """Ask for tokens; ask for some that policy forbids, and for badges that nobody has."""
        may = {
            holder: self._badges.by_code[holder[1]].may_mint(badge.level)
            for holder, badge in earned.badges.items()
        }
        askable = [
            holder for holder, badge in earned.badges.items() if may[holder] and not badge.wanted
        ]
        forbidden = [holder for holder in earned.badges if not may[holder]]
        users = sorted({user for user, _ in earned.badges})
        lacking = [
            (user, code)
            for user in users
            for code in self._badges.by_code
            if (user, code) not in earned.badges
        ]
        for holder in self._drawn(askable, round(len(askable) * ASKED)):
            yield self._command("badge.mint", holder)
        drawn = self._drawn(lacking, REFUSED)
        for holder in [*self._drawn(forbidden, REFUSED), *drawn]:
            yield self._command("badge.mint", holder)
        others = [holder for holder in lacking if holder not in drawn]
        yield from self._early(others)
        unearned = [holder for holder in others if holder[1] != _BY_PARTNER]
        yield from self._awards(unearned, forbidden)

    def _early(self, lacking: Sequence[Holder]) -> Iterator[Event]:
        """Ask for tokens of badges that the partners sent behind the requests are to earn."""
        holders = self._drawn([each for each in lacking if each[1] == _BY_PARTNER], EARLY)
        for holder in holders:
            yield self._command("badge.mint", holder)
        for user, _ in holders:
            number = f"early-{next(self._numbers)}"
            data = {"partner_id": number}
            source = "/partner-service/eu"
            yield Event("partners", "partner.joined", source, number, user, _MOMENT, data)

    def _awards(self, lacking: Sequence[Holder], held: Sequence[Holder]) -> Iterator[Event]:
        """Award badges that are not earned, and the highest level of some that nobody asks for."""
        for user, code in self._drawn(lacking, AWARDED):
            level = self._rng.choice(self._badges.by_code[code].steps).level
            yield self._command("badge.award", (user, code), level=level, reason="by the jury")
        for user, code in self._drawn(held, AWARDED):
            level = self._badges.by_code[code].steps[-1].level
            yield self._command("badge.award", (user, code), level=level)

    def _parting(self, minted: ExpectedOutcome) -> Iterator[Event]:
        """Burn some tokens, revoke one badge, and ask for the burning of what has no token."""
        drawn = self._drawn(sorted(minted.tokens), BURNED + 1)
        for holder in drawn[1:]:
            yield self._command("badge.burn", holder)
        for holder in drawn[:1]:
            yield self._command(
                "badge.revoke", holder, reason="the quests were completed by a script"
            )
        # Not of users whose counters go on in phase 4: a token would depend on the minter's pace.
        parting = {user for user, _ in drawn}
        tokenless = [
            holder
            for holder, badge in minted.badges.items()
            if not badge.wanted and holder[0] not in parting
        ]
        for holder in self._drawn(tokenless, REFUSED):
            yield self._command("badge.burn", holder)

    def _again(self, asked: Sequence[Event]) -> Iterator[Event]:
        """Send some requests again: as they were, and with their external_id for something else."""
        commands = [event for event in asked if event.topic == "commands"][:REPEATED]
        for command in commands:
            yield replace(command, id=f"c-{next(self._numbers)}")
            yield replace(
                command,
                id=f"c-{next(self._numbers)}",
                data={**command.data, "reason": "another one"},
            )

    def _afterwards(self, gone: ExpectedOutcome) -> Iterator[Event]:
        """Go on completing quests with a badge that is revoked or burned.

        It stays as it is, the counters do not.
        """
        for user in sorted(
            {user for (user, _), badge in gone.badges.items() if badge.status != "active"}
        ):
            for _ in range(AFTERWARDS):
                number = f"after-{next(self._numbers)}"
                yield Event(
                    "quests",
                    "quest.completed",
                    "/quest-service/eu",
                    number,
                    user,
                    _MOMENT,
                    {"quest_id": number},
                )

    def _command(self, type_: str, holder: Holder, **data: str | int) -> Event:
        user, code = holder
        number = next(self._numbers)
        content = {"external_id": f"request-{number}", "type_code": code} | data
        return Event("commands", type_, _SOURCE, f"c-{number}", user, _MOMENT, content)

    def _drawn(self, holders: Sequence[Holder], number: int) -> list[Holder]:
        return self._rng.sample(holders, min(number, len(holders)))

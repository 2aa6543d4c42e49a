"""Histories of chance, live and from files: what the database holds is what an oracle says.

Events of one identity with other types, subjects and tenants, repeated in and across batches; silent
runs before and after the stream; commands in any order, waiting ones beyond their time; catalogs and
forgotten ids in between; topics made anew.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ops.settings import DEFAULT_TENANT, Settings
from processor.batch.announce import announce
from processor.catalog.apply import ApplyOptions, apply_catalog
from processor.events.chunks import PlainRecord
from processor.stream.waiting_sweep import WaitingSweep
from store import retention
from store.engine import Database
from store.silenced_badges import Choice
from store.values.catalog import (
    Catalog,
    CounterKind,
    CounterSpec,
    FieldKind,
    FieldSpec,
    OnchainPolicy,
)
from tests.builders import backfills
from tests.builders.catalogs import a_catalog, a_counter, a_level, a_type
from tests.builders.catalogs import an_event as an_event_type
from tests.builders.clock import FakeClock
from tests.builders.messages import NOW, Log, a_pipeline, encoded, open_ledger, terms
from tests.builders.oracle import BadgeType, Counted, Level, Message, Oracle, Rules, Run
from tests.builders.sql import column, rows, value

STEPS = 24
USERS = [str(UUID(int=0x10000 + number)) for number in range(3)]
OTHER_TENANT = str(UUID(int=0x77))
# Event types by topic and field.
EVENTS = {
    "step.made": ("steps", "step_id"),
    "place.seen": ("places", "place_id"),
    "review.put": ("reviews", "review_id"),
    "review.cut": ("reviews", "review_id"),
    "noise.made": ("noises", "noise_id"),
}

_COUNTERS = {
    "points": Counted("step.made"),
    "places": Counted("place.seen", field="place_id"),
    "reviews": Counted("review.put", field="review_id", undo="review.cut"),
}
_TYPES = {
    "walker": BadgeType(
        (Level(1, {"points": 2}), Level(2, {"points": 4}), Level(3, {"points": 6}, auto_mint=True))
    ),
    "seer": BadgeType((Level(1, {"places": 2}, auto_mint=True), Level(2, {"places": 4}))),
    "critic": BadgeType((Level(1, {"reviews": 2}),), policy="by_user_request"),
    "hiker": BadgeType(
        (Level(1, {"points": 3, "places": 1}), Level(2, {"points": 5, "places": 3})),
        policy="never",
    ),
}
_SOONER = BadgeType(
    (Level(1, {"points": 1}), Level(2, {"points": 3}), Level(3, {"points": 6}, auto_mint=True))
)
_LOUDER = {"shouter": BadgeType((Level(1, {"noises": 1}), Level(2, {"noises": 3}, auto_mint=True)))}
_PACER = BadgeType((Level(1, {"points": 4}, auto_mint=True), Level(2, {"points": 4, "later": 2})))
# Each catalog follows the one before: levels that come sooner and later, a counter for what nobody
# had heard, one that adopts, and one beside it that begins at 0.
CATALOGS = (
    Rules(_COUNTERS, _TYPES),
    Rules(
        _COUNTERS | {"noises": Counted("noise.made")},
        _TYPES | _LOUDER | {"walker": _SOONER},
    ),
    Rules(
        _COUNTERS | {"noises": Counted("noise.made"), "later": Counted("step.made")},
        _TYPES
        | _LOUDER
        | {"pacer": _PACER, "critic": BadgeType((Level(1, {"reviews": 1}, True),))},
    ),
)


def compiled(rules: Rules) -> Catalog:
    """The same as Laurel's own catalog."""
    types = (
        a_type(
            *(
                a_level(
                    each.level,
                    {name: {"gte": least} for name, least in each.atleast.items()},
                    auto_mint_onchain=each.auto_mint,
                )
                for each in spec.levels
            ),
            code=code,
            counters=tuple(sorted(spec.counters)),
            default_onchain_policy=OnchainPolicy(spec.policy),
        )
        for code, spec in rules.types.items()
    )
    events = (
        an_event_type(kind, FieldSpec(name, FieldKind.ID, required=True), topic=topic)
        for kind, (topic, name) in EVENTS.items()
    )
    counters = (_counter(name, counted) for name, counted in rules.counters.items())
    return a_catalog(*types, counters=tuple(counters), events=tuple(events))


def _counter(name: str, counted: Counted) -> CounterSpec:
    if counted.undo is not None:
        undo = {"undo_event_type": counted.undo, "undo_field": counted.field}
        return a_counter(name, event_type=counted.event, field=counted.field, **undo)
    kind = CounterKind.COUNT if counted.field is None else CounterKind.DISTINCT
    return a_counter(name, event_type=counted.event, kind=kind, field=counted.field)


class Telling:
    """Messages of chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._numbers = iter(range(10**6))
        self._known: dict[tuple[str | None, str, str], tuple[str, str, str]] = {}
        self._commands: list[Message] = []

    def some(self) -> list[Message]:
        """Return a few."""
        return [
            self._event() if self._chance.random() < 0.6 else self._command()
            for _ in range(self._chance.randrange(1, 12))
        ]

    def _event(self) -> Message:
        chance = self._chance
        tenant = chance.choice([None, None, OTHER_TENANT])
        key = (tenant, chance.choice(["/a", "/b"]), f"e{chance.randrange(60)}")
        kinds = ["step.made"] * 3 + ["place.seen"] * 2 + ["review.put", "review.cut", "noise.made"]
        first = (chance.choice(kinds), chance.choice(USERS), f"x{chance.randrange(7)}")
        kind, user, thing = self._known.setdefault(key, first)
        odd = chance.random()
        if odd < 0.05:
            kind = chance.choice(list(EVENTS))
        elif odd < 0.1:
            user = chance.choice(USERS)
        at = NOW - timedelta(days=chance.randrange(40), seconds=chance.randrange(20_000))
        if chance.random() < 0.03:
            at = NOW + timedelta(minutes=chance.choice([9, 11, 1_440]))
        more = {} if tenant is None else {"tenantid": tenant}
        _, name = EVENTS[kind]
        return _message(kind, user, at, key[2], {name: thing}) | {"source": key[1]} | more

    def _command(self) -> Message:
        chance, number = self._chance, next(self._numbers)
        if self._commands and chance.random() < 0.4:
            again = chance.choice(self._commands) | {"id": f"c{number}"}
            if chance.random() < 0.3:
                again["data"] |= {"reason": "another"}
            return again
        kind = chance.choice(["award", "award", "mint", "revoke", "burn"])
        codes = ["walker", "walker", "seer", "critic", "hiker", "shouter", "nobody"]
        data: dict[str, Any] = {"external_id": f"x{number}", "type_code": chance.choice(codes)}
        if kind == "award" and chance.random() < 0.6:
            data["level"] = chance.choice([1, 2, 3, 9])
        if kind == "revoke":
            data["reason"] = "bought accounts"
        at = NOW - timedelta(hours=1)
        made = _message(f"badge.{kind}", chance.choice(USERS), at, f"c{number}", data)
        if chance.random() < 0.2:
            made["tenantid"] = OTHER_TENANT
        self._commands.append(made | {"data": dict(data)})
        return made


def _message(kind: str, user: str, at: datetime, number: str, data: dict[str, Any]) -> Message:
    return {
        "specversion": "1.0",
        "id": number,
        "source": "/connect-service",
        "type": kind,
        "subject": user,
        "time": at.isoformat(),
        "data": data,
    }


def _topic(message: Message) -> str:
    kind = message["type"]
    return "laurel." + ("commands" if kind.startswith("badge.") else EVENTS[kind][0])


class History:
    """Does the same to a database and to an oracle."""

    def __init__(self, database: Database, folder: Path, seed: int) -> None:
        self.database = database
        self.oracle = Oracle(CATALOGS[0], str(DEFAULT_TENANT))
        self._folder = folder
        self._chance = random.Random(seed)
        self._telling = Telling(self._chance)
        self._log = Log()
        self._files = self._generation = self._catalog = 0

    async def begin(self) -> None:
        """Put the first catalog in force."""
        await apply_catalog(self.database, compiled(CATALOGS[0]), tenant_id=DEFAULT_TENANT)

    async def step(self) -> str:
        """Do something, and return what it was."""
        steps = [self.live, self.backfill, self.catalog, self.anew, self.forget, self.wait]
        steps += [self.announce]
        (step,) = self._chance.choices(steps, [46, 32, 5, 4, 4, 6, 3])
        await step()
        return step.__name__

    async def live(self) -> None:
        messages = self._telling.some()
        for message in messages:
            self._log.append(message, topic=_topic(message))
        later = 1_000 * self._generation
        chunks = [
            replace(
                chunk,
                records=[
                    PlainRecord(each.offset, each.value, timestamp=each.timestamp + later)
                    for each in chunk.records
                ],
            )
            for chunk in self._log.chunks()
        ]
        await open_ledger(self.database, chunks)
        pipeline = await a_pipeline(self.database)
        await pipeline.run(chunks)
        if self._chance.random() < 0.2:  # what a former owner of the partitions brings counts not
            assert set((await pipeline.run(chunks)).fenced) == {chunk.key for chunk in chunks}
        in_order = [each for chunk in chunks for each in messages if _topic(each) == chunk.topic]
        self.oracle.take(in_order, Run(NOW, datetime.fromtimestamp(1_780_000_000, UTC)))

    async def backfill(self) -> None:
        messages, asked = self._telling.some(), self._chance.choice(_ASKED)
        self._files += 1
        path = self._folder / f"history-{self._files}.jsonl"
        path.write_bytes(b"".join((encoded(message) or b"") + b"\n" for message in messages))
        url = self.database.engine.url.render_as_string(hide_password=False)
        await backfills.backfill(
            Settings(database_url=url.replace("postgresql+psycopg", "postgresql")),
            path,
            announce=asked.get("publish", False),
            mint=asked.get("mint", False),
        )
        now = datetime.now(UTC)
        run = Run(now, now, **({"publish": False, "mint": False} | asked))
        before = Counter(self.oracle.dead)
        # Events first, all of them at once; then commands and wallets, as a batch of their own.
        self.oracle.take([each for each in messages if not _is_command(each)], run)
        self.oracle.take([each for each in messages if _is_command(each)], run)
        # What reading refuses lies in the file, and is named by the command.
        for letter in set(self.oracle.dead) - set(before):
            if letter[0] in ("too_new", "too_old", "event_id_conflict"):
                del self.oracle.dead[letter]
        for letter, number in before.items():
            if letter[0] in ("too_new", "too_old", "event_id_conflict"):
                self.oracle.dead[letter] = number

    async def catalog(self) -> None:
        if self._catalog + 1 == len(CATALOGS):
            return
        self._catalog += 1
        publish, mint = self._chance.choice([(True, True), (True, False), (False, False)])
        rules = CATALOGS[self._catalog]
        options = ApplyOptions(silent=not publish, no_mint=not mint)
        await apply_catalog(self.database, compiled(rules), options, tenant_id=DEFAULT_TENANT)
        self.oracle.apply(rules, Run(NOW, NOW, publish, mint))

    async def anew(self) -> None:
        """Make a topic anew, and have an operator say so: its offsets begin at 0 again."""
        key = (self._chance.choice(["laurel.steps", "laurel.commands"]), 0)
        await rows(self.database, "DELETE FROM offset_ledger WHERE topic = :name", name=key[0])
        self._generation += 1
        self._log.records.pop(key, None)
        self._log.read.pop(key, None)

    async def forget(self) -> None:
        day = NOW - timedelta(days=self._chance.randrange(5, 60))
        age = datetime.now(UTC) - day
        await retention.prune(self.database, age, dry_run=False, say=lambda _line: None)
        floor: date = await value(self.database, "SELECT floor FROM dedupe_floor")
        self.oracle.forget(floor)

    async def wait(self) -> None:
        sweep = WaitingSweep(self.database, terms(), FakeClock(NOW))
        in_vain = self._chance.random() < 0.5
        if in_vain:
            await rows(self.database, "UPDATE waiting_command SET expires_at = now()")
        await sweep.turn()
        self.oracle.sweep(NOW)
        if in_vain:
            self.oracle.expire()

    async def announce(self) -> None:
        user = self._chance.choice(USERS)
        await announce(self.database, Choice(None, UUID(user)), slice_max=1)
        self.oracle.announce(user)


def _is_command(message: Message) -> bool:
    return str(message["type"]).startswith("badge.")


_ASKED: list[dict[str, bool]] = [
    {},
    {},
    {"publish": True},
    {"mint": True},
    {"publish": True, "mint": True},
]

BADGES = """
    SELECT badge.user_id::text, type.code, ordinal, current_level, badge.status,
           badge.tenant_id::text,
           EXISTS (SELECT FROM nft_mint_queue WHERE nft_instance_id = badge.id
                      AND operation = 'mint' AND status = 'pending'),
           EXISTS (SELECT FROM nft_mint_queue WHERE nft_instance_id = badge.id
                      AND operation = 'burn' AND status = 'pending'),
           kept.message, coalesce(kept.mint, false)
      FROM nft_instance AS badge
           JOIN nft_type AS type ON type.id = badge.type_id
           LEFT JOIN silenced_badge AS kept ON kept.nft_instance_id = badge.id
"""


def _standing(
    status: str, mint: bool, unsaid: str | None, unminted: bool
) -> tuple[str | None, bool]:
    """What is left to say of a badge: nothing once it is revoked, no mint where one is open."""
    return (unsaid, unminted and not mint) if status == "active" else (None, False)


async def found(database: Database) -> dict[str, Any]:
    """What the database holds."""
    progress = await rows(database, "SELECT user_id::text, counters::text FROM nft_progress")
    letters = await rows(database, "SELECT reason, value FROM dead_letter")
    messages = await rows(
        database,
        "SELECT user_id::text, event_type, payload->>'type_code', (payload->>'level')::int"
        "  FROM outbox_message",
    )
    return {
        "counters": {
            (name, user): number
            for user, counters in progress
            for name, number in json.loads(counters).items()
        },
        "badges": sorted(
            (*badge, *_standing(badge[4], badge[6], unsaid, unminted))
            for *badge, unsaid, unminted in await rows(database, BADGES)
        ),
        "dead letters": Counter((why, json.loads(bytes(kept))["id"]) for why, kept in letters),
        "applied": set(await column(database, "SELECT external_id FROM command_log")),
        "waiting": set(await column(database, "SELECT external_id FROM waiting_command")),
        "said": Counter(messages),
        "ids": await value(database, "SELECT count(*) FROM processed_event"),
    }


def expected(oracle: Oracle) -> dict[str, Any]:
    """What the oracle says that it holds."""
    return {
        "counters": oracle.counters(),
        "badges": sorted(_badges(oracle)),
        "dead letters": oracle.dead,
        "applied": set(oracle.applied),
        "waiting": set(oracle.waiting),
        "said": Counter((user, *each) for user, told in oracle.said.items() for each in told),
        "ids": len(oracle.ids),
    }


def _badges(oracle: Oracle) -> Iterator[tuple[Any, ...]]:
    for (user, code), held in oracle.badges.items():
        for ordinal, badge in enumerate(held, 1):
            standing = _standing(badge.status, badge.mint, badge.unsaid, badge.unminted)
            yield (
                *(user, code, ordinal, badge.level, badge.status, badge.tenant),
                *(badge.mint, badge.burn, *standing),
            )


@pytest.mark.parametrize("seed", range(6))
async def test_what_comes_of_a_history_is_what_an_oracle_says(
    database: Database, tmp_path: Path, seed: int
) -> None:
    history = History(database, tmp_path, seed)
    await history.begin()
    for number in range(STEPS):
        done = await history.step()
        assert await found(database) == expected(history.oracle), (number, done)

"""What counting some of history would come to, with nothing written.

Read-only: no lock and no temporary table, so that a hot standby answers as well. The same rules
decide as when it is counted: a test holds what is forecast equal to what then comes.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from ops.clock import SYSTEM_CLOCK, Clock
from ops.lifecycle import Stop
from ops.settings import Settings
from processor.batch import level_changes, silence
from processor.batch.compiled_catalog import CompiledCatalog
from processor.history.load_report import LoadReport
from processor.history.loading import LoadListener, ReadHistory, mint_nano
from processor.history.slice_transaction import Speech
from processor.history.user_slice import UserSlice
from processor.rules.onchain_policy import mints_by_itself
from store import (
    event_columns,
    instances,
    member_steps,
    mint_queue,
    reevaluation,
    silenced_badges,
)
from store.counting import Progress, together
from store.engine import Connection, Database
from store.merge_statement import may_change_level
from store.values.badges import OnchainStatus
from store.values.names import CounterName, Holder, Number
from store.values.stream import Reason

# Of each type and level.
SAMPLES = 5
# Users whose counters are read by one statement.
_USERS_MAX = 5_000

# What is added to counters, by user and type.
Additions = Mapping[Holder, Mapping[CounterName, Number]]


@dataclass(slots=True)
class Gains:
    """Who gains what: badges by type and level, some of their users, and tokens to be minted."""

    levels: Counter[tuple[str, int]] = field(default_factory=Counter)
    samples: dict[tuple[str, int], list[UUID]] = field(default_factory=dict)
    mints: int = 0


async def forecast(
    db: Database,
    settings: Settings,
    read: ReadHistory,
    speech: Speech,
    stop: Stop,
    listener: LoadListener,
    clock: Clock = SYSTEM_CLOCK,
) -> LoadReport:
    """Return what a load of what was `read` would report; wallet changes and commands aside."""
    started = clock.monotonic()
    report = LoadReport(
        read=read.records,
        repeated=read.repeated,
        refused=Counter(read.refused),
        mint_nano=mint_nano(settings),
        slices=read.history.slices,
        dry_run=True,
    )
    found = Gains(report.levels, report.samples)
    for number in range(read.history.slices):
        if stop.requested:
            break
        await listener.loaded(number, read.history.slices)
        part = await asyncio.to_thread(read.history.slice, number)
        async with db.reading() as conn:
            await _add_slice(conn, read, speech, part, report, found)
    else:
        report.finished = True
    report.mints = found.mints
    if report.conflicts:
        report.refused[Reason.EVENT_ID_CONFLICT.value] += len(report.conflicts)
    report.seconds = clock.monotonic() - started
    return report


async def _add_slice(
    conn: Connection,
    read: ReadHistory,
    speech: Speech,
    part: UserSlice,
    report: LoadReport,
    found: Gains,
) -> None:
    judged = await event_columns.judge(conn, part.events)
    report.counted += int((judged.fresh & part.events.heard).sum())
    conflicts = part.events.places[judged.conflicts].tolist()
    report.conflicts += sorted(conflicts)
    report.known += int(judged.known.sum()) - len(conflicts)
    known = event_columns.listed_keys(part.events, judged.known)
    wanted = set[UUID]()
    if not speech.is_silent:
        heard = event_columns.listed_keys(part.events, judged.silent)
        wanted |= await _unminted(conn, read, heard)
    if known:
        part = await asyncio.to_thread(read.history.slice, part.number, known)
    added = await additions(conn, read.compiled, part)
    wanted |= await add_gains(conn, read.compiled, added, found)
    if speech.mint and wanted:
        # What is on its way is not asked for again.
        states = await mint_queue.token_states(conn, sorted(wanted))
        wanted = {badge for badge in wanted if not states[badge].mint_open}
    found.mints += len(wanted)


async def _unminted(conn: Connection, read: ReadHistory, heard: list[bytes]) -> frozenset[UUID]:
    """Return the badges whose silence would end, and that are then minted."""
    if not heard:
        return frozenset()
    events = await asyncio.to_thread(read.history.events, heard)
    holders = silence.holders_of(events, read.compiled.counters_of)
    latest = instances.by_holder(await instances.read(conn, holders))
    return await silenced_badges.unminted(conn, [badge.id for badge in latest.values()])


async def additions(conn: Connection, compiled: CompiledCatalog, part: UserSlice) -> Additions:
    """Return what a slice would add, its members held against those that are known."""
    steps = await member_steps.steps(conn, part.members)
    places: dict[int, list[tuple[UUID, CounterName]]] = {}
    for type_id, bindings in compiled.merge_statement.bindings.items():
        for binding in bindings:
            places.setdefault(binding.counter_id, []).append((type_id, binding.name))
    found: dict[Holder, dict[CounterName, Number]] = {}
    for total in part.totals:
        amount = total.amount + steps[total.user, total.counter_id]
        for type_id, name in places.get(total.counter_id, ()):
            found.setdefault((UUID(bytes=total.user), type_id), {})[name] = amount
    return found


async def add_gains(
    conn: Connection, compiled: CompiledCatalog, added: Additions, found: Gains
) -> set[UUID]:
    """Find who would gain a level if so much was `added` to the counters.

    Return the badges among them that are there and would be minted; those that are new and would be
    are counted.
    """
    statement = compiled.merge_statement
    wanted = set[UUID]()
    for part in _parts(added):
        types, users = {type_id for _, type_id in part}, {user_id for user_id, _ in part}
        standing = await reevaluation.counters(conn, types, users)
        before = {(each.user_id, each.type_id): each.counters for each in standing}
        changed = []
        for (user_id, type_id), amounts in part.items():
            old, bindings = before.get((user_id, type_id)), statement.bindings[type_id]
            if may_change_level(bindings, old, amounts):
                after = dict(old or {})
                for binding in bindings:
                    if (amount := amounts.get(binding.name)) is not None:
                        has = after.get(binding.name)
                        after[binding.name] = (
                            amount if has is None else together(has, amount, binding.is_max)
                        )
                changed.append(Progress(user_id, type_id, after))
        wanted |= await _decide(conn, compiled, changed, found)
    return wanted


async def _decide(
    conn: Connection, compiled: CompiledCatalog, changed: list[Progress], found: Gains
) -> set[UUID]:
    """Decide as a load would; return the badges that are there and would be minted."""
    wanted = set[UUID]()
    types = compiled.rulebook.by_id
    reaching = [each for each in changed if types[each.type_id].any_holds(each.counters)]
    holders = {(each.user_id, each.type_id) for each in reaching}
    badges = instances.by_holder(await instances.read(conn, holders))
    decisions = level_changes.of(compiled.rulebook, reaching, badges)
    for (user_id, type_id), decision in sorted(decisions.items(), key=lambda each: each[0]):
        spec, badge = types[type_id].spec, badges.get((user_id, type_id))
        reached = str(spec.code), decision.level.level
        found.levels[reached] += 1
        samples = found.samples.setdefault(reached, [])
        if len(samples) < SAMPLES:
            samples.append(user_id)
        if not mints_by_itself(spec, decision.passed):
            continue
        if badge is None:
            found.mints += 1
        elif badge.onchain_status is OnchainStatus.NOT_MINTED:
            wanted.add(badge.id)
    return wanted


def _parts(added: Additions) -> Iterator[Additions]:
    """Cut by users: one user's types are neighbours, or fall into two parts."""
    left = iter(sorted(added.items(), key=lambda each: each[0]))
    while part := dict(islice(left, _USERS_MAX)):
        yield part

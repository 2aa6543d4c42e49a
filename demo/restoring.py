"""The last act of `laurel demo --full`: the database is lost, and an old backup takes over.

Done as docs/runbook.md says, "Restoring a backup". What the backup lacks is counted again from
Kafka, and its tokens are found on chain: each badge has the token that it had, and no other.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from demo.chain import ChainReader
from demo.convergence import Goal, Watch
from demo.oracle.comparison import Aspect, Difference
from demo.progress import View
from demo.reconcile import reconcile
from demo.result import Check, counted
from demo.stack import backup
from demo.stack.processes import Stack
from demo.stack.publisher import Ends
from demo.stack.threads import to_its_end
from store import inspection
from store.engine import Database
from store.inspection import BadgeRow, Snapshot
from store.values.badges import InstanceStatus

# Longer than a signed message can execute, by the chain's clock, and the margin behind it.
_MESSAGE_LIFE = timedelta(minutes=6)


@dataclass(frozen=True, slots=True)
class Lost:
    """What the lost database knew, how many items each collection had, and the goal it reached."""

    snapshot: Snapshot
    items: Mapping[str, int]
    goal: Goal


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it."""

    checks: Sequence[Check]
    differences: Sequence[Difference]
    note: str


async def items_of(chain: ChainReader, snapshot: Snapshot) -> dict[str, int]:
    """Return how many items each collection has on chain, by type."""
    homes = {row.type_code: row.address for row in snapshot.collections}
    counts = await asyncio.gather(*map(chain.item_count, homes.values()))
    return dict(zip(homes, counts, strict=True))


async def restore_and_compare(
    stack: Stack, chain: ChainReader, view: View, path: Path, lost: Lost, ends: Ends
) -> Restored:
    """Lose the database, let the backup at `path` take over, and compare.

    Raises:
        LaurelError: a program, a service or a command failed, or nothing moves any more.
    """
    view.say("losing the database: stopping everything, and restoring the backup")
    await asyncio.gather(*(to_its_end(each.stop) for each in stack.services.values()))
    await backup.restore(stack, path)
    minter = stack.services["minter"]
    workers = [each for each in stack.services.values() if each is not minter]
    async with Database(stack.database_url) as database:
        async with database.transaction() as conn:
            old = await inspection.figures(conn)
        view.say(f"the backup knows {old.tokens} tokens; the workers count on from there")
        for worker in workers:
            worker.start()
        await asyncio.gather(*(worker.wait_until_ready() for worker in workers))
        watch, goal = Watch(stack, database, view), lost.goal
        await watch.until("counting", lambda figures: figures.events >= goal.events, goal)
        await watch.read(ends)
        view.say("repairing: the chain has what the backup lacks")
        repair = await reconcile(stack, "--repair")
        view.say("starting the minter; the chain's clock goes on until nothing can be under way")
        await stack.ton.advance(_MESSAGE_LIFE)
        minter.start()
        await minter.wait_until_ready()
        await watch.until("minting", lambda figures: figures.open_tasks == 0, goal)
        after = await reconcile(stack)
        async with database.transaction() as conn:
            found = await inspection.snapshot(conn)
    items = await items_of(chain, found)
    apart = _apart(lost.snapshot.badges, found.badges)
    if items != dict(lost.items):
        apart.append(Difference(Aspect.RESTORE, "items on chain", lost.items, items))
    if after.findings or after.exit_code:
        apart.append(Difference(Aspect.RESTORE, "reconcile", "nothing", after.findings))
    tokens = sum(row.token_id is not None for row in lost.snapshot.badges)
    checks = [
        Check(
            "restored: badges with their token",
            counted(tokens),
            counted(sum(row.token_id is not None and row.mints == 1 for row in found.badges)),
        ),
        Check(
            "restored: items on chain",
            counted(sum(lost.items.values())),
            counted(sum(items.values())),
        ),
        Check(
            "restored: badges as they were",
            counted(len(lost.snapshot.badges)),
            counted(len(found.badges)) if not apart else f"{counted(len(apart))} differ",
        ),
    ]
    note = (
        f"The database was lost; its backup knew {counted(old.tokens)} of {counted(tokens)} "
        f"tokens, and a repair found {counted(len(repair.findings))} differences."
    )
    return Restored(checks, apart, note)


def _apart(before: Sequence[BadgeRow], after: Sequence[BadgeRow]) -> list[Difference]:
    """Return the badges that are not as they were: state, token, and the level while it counts.

    A badge that is revoked or burned may have got further than it had: its last events may have
    been counted before the command this time.
    """
    wanted, found = ({row.id: _essence(row) for row in rows} for rows in (before, after))
    return [
        Difference(Aspect.RESTORE, f"badge {key}", wanted.get(key), found.get(key))
        for key in sorted(wanted.keys() | found.keys())
        if wanted.get(key) != found.get(key)
    ]


def _essence(row: BadgeRow) -> tuple[object, ...]:
    level = row.level if row.status is InstanceStatus.ACTIVE else None
    return row.user_id, row.type_code, level, row.status, row.onchain_status, row.token_id

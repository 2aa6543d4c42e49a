"""kill -9 between every two statements of a batch, then a restart.

The counters are the truth, and nothing is there twice.

The pipeline runs without a consumer group, in a process forked for each point: what the kill leaves
is what an out-of-memory kill leaves.
"""

import asyncio
import os
import signal
import warnings
from collections.abc import Mapping
from uuid import UUID

import pytest
from sqlalchemy import text

from ops import faults
from ops.faults import Point
from processor.events.chunks import Chunk
from store import ledger
from store.engine import Database
from tests.builders.messages import (
    ALICE,
    BOB,
    CLUSTER,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    a_quest,
    a_review,
    a_visit,
    a_wallet,
    an_address,
    clear,
    open_ledger,
    with_catalog,
)

CAROL = UUID(int=3)


def a_history() -> list[Chunk]:
    """Two batches in which every statement has something to do.

    First badges, then level-ups, wallets, commands and broken messages.
    """
    log = Log()
    log.append(*(a_partner(who) for who in (ALICE, BOB, CAROL) for _ in range(3)))
    log.append(
        *(a_quest(ALICE) for _ in range(5)), *(a_visit(ALICE, f"city-{n}") for n in range(3))
    )
    log.append(
        *(a_review(BOB, f"review-{n}") for n in range(4)), a_review(BOB, "review-0", removed=True)
    )
    first = log.chunks()
    log.append(
        *(a_partner(who) for who in (ALICE, BOB) for _ in range(3)),
        b"{broken",
        topic="laurel.partners",
    )
    log.append(a_wallet(ALICE, an_address(1)), a_wallet(BOB, an_address(2)))
    log.append(a_review(BOB, "review-1", removed=True), a_review(BOB, "review-9"))
    log.append(
        a_command("mint", ALICE, type_code="ambassador"),
        a_command("burn", BOB, type_code="ambassador"),
    )
    log.append(
        a_command("revoke", CAROL, type_code="ambassador", reason="a test"),
        a_command("mint", ALICE, type_code="quest_author"),
    )
    return first + log.chunks()


async def drive(url: str, chunks: list[Chunk]) -> None:
    """Count what the ledger says is left, in two batches, like a worker that was started again."""
    async with Database(url) as database:
        await open_ledger(database, chunks)
        pipeline = await a_pipeline(database)
        middle = next(number for number, chunk in enumerate(chunks) if chunk.position > 0)
        for batch in (chunks[:middle], chunks[middle:]):
            async with database.transaction() as conn:
                standing = await ledger.read(conn, CLUSTER, {chunk.key for chunk in batch})
            await pipeline.run(
                [chunk for chunk in batch if standing[chunk.key].next_offset == chunk.position]
            )


async def facts(url: str) -> Mapping[str, object]:
    """Everything that was written, without ids and times that differ from run to run."""
    badge = "JOIN nft_instance AS badge ON badge.id = nft_instance_id"
    queries = {
        "counters": "SELECT user_id, code, counters FROM nft_progress JOIN nft_type ON nft_type.id = type_id",
        "badges": "SELECT user_id, type_id, current_level, status, onchain_status, metadata FROM nft_instance",
        "audit": f"SELECT user_id, action, details->>'level' FROM nft_audit_log {badge}",
        "tasks": f"SELECT user_id, operation, task.status, hold_reason FROM nft_mint_queue AS task {badge}",
        "outbox": "SELECT user_id, seq, event_type, payload->>'level' FROM outbox_message",
        "ledger": "SELECT topic, partition, next_offset, last_offset FROM offset_ledger",
        "processed": "SELECT count(*) FROM processed_event",
        "members": "SELECT user_id, member, posted, undone FROM progress_member",
        "wallets": "SELECT user_id, address FROM user_wallet",
        "commands": "SELECT type, nft_instance_id IS NOT NULL FROM command_log",
        "dead letters": 'SELECT topic, "offset", reason FROM dead_letter',
    }
    async with Database(url) as database, database.transaction() as conn:
        return {
            name: sorted(map(str, (await conn.execute(text(query))).all()))
            for name, query in queries.items()
        }


def killed_at(point: str, url: str, chunks: list[Chunk]) -> int:
    """Run `drive` in a forked process with the fault point armed.

    Return the signal that ended it, 0 for none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # 3.12: fork beside threads; pytest's watchdog is one, and holds no lock
        child = os.fork()
    if child == 0:
        name, _, passes = point.partition(":")
        faults._point, faults._passes_left = name, int(passes)
        code = 1
        try:
            asyncio.run(drive(url, chunks))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


_TRUTH: dict[str, Mapping[str, object]] = {}


@pytest.fixture
def url(database_url: str) -> str:
    """A database that may be counted into; the first one tells what an undisturbed run writes."""
    asyncio.run(_prepare(database_url))
    if not _TRUTH:
        asyncio.run(drive(database_url, a_history()))
        _TRUTH["facts"] = asyncio.run(facts(database_url))
        asyncio.run(_clear(database_url))
    return database_url


async def _prepare(url: str) -> None:
    async with Database(url) as database:
        await with_catalog(database)


async def _clear(url: str) -> None:
    async with Database(url) as database:
        await clear(database)


@pytest.mark.parametrize("passing", [1, 2])
@pytest.mark.parametrize("point", [each for each in Point if each.startswith("batch.")])
def test_a_kill_leaves_a_batch_whole_or_not_at_all(point: str, passing: int, url: str) -> None:
    chunks = a_history()
    assert killed_at(f"{point}:{passing}", url, chunks) == signal.SIGKILL
    asyncio.run(drive(url, chunks))
    assert asyncio.run(facts(url)) == _TRUTH["facts"]


def test_the_history_gives_every_statement_something_to_do(url: str) -> None:
    empty = [name for name, rows in _TRUTH["facts"].items() if not rows]
    assert url
    assert empty == []

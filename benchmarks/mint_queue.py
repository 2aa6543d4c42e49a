"""What the minter asks of a large queue, statement by statement, in milliseconds.

The limit beside them is a second: the main loop waits for most of these, and comes round twice in
it. The rows are made by SQL: badges that have their tokens, mints that wait for a wallet, and mints
of one busy type that are due, with a few of another type behind them.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import sqlalchemy

from benchmarks._database import database, hush
from ops.settings import DEFAULT_TENANT
from sandbox.postgres import postgres
from store import claiming, fence, mint_queue, queue_decisions, queue_figures, reconciliation
from store.engine import Connection, Database
from store.values.names import LeaseToken

MINTED = int(os.environ.get("BENCH_BADGES", "250000"))
HELD = MINTED * 2 // 5
DUE = MINTED // 5
_ROUNDS = 3
_LEASE = timedelta(seconds=60)

Ask = Callable[[Connection], Awaitable[object]]

# `first`: so that each badge is another user's.
_BADGES = """
    INSERT INTO nft_instance (type_id, user_id, current_level, source_service, tenant_id,
                              onchain_status, onchain_token_id)
    SELECT type.id, md5('user' || number)::uuid, 1, 'benchmark', :tenant, CAST(:status AS text),
           CASE WHEN CAST(:status AS text) = 'minted'
                THEN '0:' || md5(number::text) || md5('x' || number) END
      FROM nft_type AS type, generate_series(:first, :first + :count - 1) AS number
     WHERE type.code = :code
"""
_MINTED = """
    INSERT INTO nft_mint_queue (nft_instance_id, status, recipient, token_index)
    SELECT id, 'confirmed', '0:' || repeat('c', 64), row_number() OVER () - 1
      FROM nft_instance WHERE onchain_status = 'minted'
"""
_WAITING = """
    INSERT INTO nft_mint_queue (nft_instance_id, hold_reason)
    SELECT id, CASE WHEN onchain_status = 'not_minted' THEN 'no_wallet' END
      FROM nft_instance WHERE onchain_status <> 'minted' AND onchain_status <> 'failed'
"""
_BEHIND = """
    INSERT INTO nft_mint_queue (nft_instance_id)
    SELECT id FROM nft_instance WHERE onchain_status = 'failed'
"""


async def fill(db: Database) -> UUID:
    """Make the queue; return the busy type's id."""
    kinds = [
        ("explorer", "minted", MINTED),
        ("explorer", "not_minted", HELD),
        ("explorer", "pending", DUE),
        ("ambassador", "failed", 200),
    ]
    async with db.transaction() as conn:
        await conn.execute(sqlalchemy.text("SET LOCAL statement_timeout = 0"))
        first = 1
        for code, status, count in kinds:
            values = {"code": code, "status": status, "count": count, "first": first}
            await conn.execute(sqlalchemy.text(_BADGES), {**values, "tenant": DEFAULT_TENANT})
            first += count
        for statement in (_MINTED, _WAITING, _BEHIND):
            await conn.execute(sqlalchemy.text(statement))
        await conn.execute(sqlalchemy.text("ANALYZE"))
        found = await conn.execute(
            sqlalchemy.text("SELECT id FROM nft_type WHERE code = 'explorer'")
        )
        return UUID(str(found.scalar_one()))


def asks(busy: Sequence[UUID]) -> dict[str, Ask]:
    """Return what is measured, by name."""
    lease = LeaseToken(uuid4())
    return {
        "claim, nobody busy": lambda conn: claiming.claim_due(conn, lease, _LEASE, 120, []),
        "claim, behind a busy type": lambda conn: claiming.claim_due(
            conn, lease, _LEASE, 120, busy
        ),
        "claim what is sent": lambda conn: claiming.claim_sent(conn, lease, _LEASE, []),
        "sweep 2,000 without a wallet": lambda conn: mint_queue.sweep_some(
            conn, mint_queue.BEFORE_ALL, 2_000
        ),
        "count what is open, and its age": queue_figures.open_tasks,
        "count what is over": queue_figures.settled_tasks,
        "sweep all": mint_queue.sweep_held,
        "types without a collection": claiming.types_without_collection,
        "free what the breaker held": fence.free_held,
        "hold a thousand": lambda conn: fence.hold_waiting(conn, "a benchmark"),
        "laurel queue list": lambda conn: queue_decisions.waiting(
            conn, hold=None, code=None, limit=100
        ),
        "records for reconcile": reconciliation.token_records,
    }


async def run() -> None:
    """Print a line a statement: the quickest of a few rounds, none of which is kept."""
    with postgres() as server:
        async with database(server, "queue") as db:
            busy = await fill(db)
            print(f"  {MINTED:,} minted, {HELD:,} held, {DUE:,} due of one type, 200 of another")
            for name, ask in asks([busy]).items():
                print(f"  {name:30}{await milliseconds(db, ask):10,.1f} ms")


async def milliseconds(db: Database, ask: Ask) -> float:
    """Return what a statement takes; what it changed is undone."""
    taken = []
    for _ in range(_ROUNDS):
        async with db.transaction() as conn:
            await conn.execute(sqlalchemy.text("SET LOCAL statement_timeout = 0"))
            started = time.perf_counter()
            await ask(conn)
            taken.append(1_000 * (time.perf_counter() - started))
            await conn.rollback()
    return min(taken)


if __name__ == "__main__":
    hush()
    asyncio.run(run())

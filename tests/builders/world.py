"""Badges, wallets and a running minter for the tests.

What a test does not care about stays out of its sight.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, text

from minter.context import MinterContext
from minter.daemon import Daemon
from minter.startup import minter_context
from minter.ton import metadata_uris, tokens
from minter.ton.values import Token
from ops.lifecycle import Readiness, Stop
from ops.settings import DEFAULT_TENANT, Settings
from ops.watchdog import Watchdog
from sandbox.ton.accounts import user_wallet
from sandbox.ton.cells import Address, Builder
from sandbox.ton.network import TonNetwork
from store import mint_queue
from store.engine import Database
from store.mint_queue import NewTask
from store.values.minting import TaskOperation
from store.values.names import RawAddress, TypeCode
from tests.builders.patience import PATIENCE_S


@dataclass(frozen=True, slots=True)
class Badge:
    """An instance in the database, and who holds it."""

    id: UUID
    user_id: UUID
    owner: RawAddress


class World:
    """The database as processor and catalog would leave it."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def sql(self, statement: str, **parameters: Any) -> list[Row[Any]]:
        """Run one statement in a transaction of its own; return its rows, if it has any."""
        async with self.db.transaction() as conn:
            result = await conn.execute(text(statement), parameters)
            return list(result) if result.returns_rows else []

    async def value(self, statement: str, **parameters: Any) -> Any:
        """Return the one value of the one row."""
        ((found,),) = await self.sql(statement, **parameters)
        return found

    async def badge_type(self, code: str = "explorer") -> UUID:
        """Make a type with one level, unless it is there; return its id."""
        known = await self.sql("SELECT id FROM nft_type WHERE code = :code", code=code)
        if known:
            return UUID(str(known[0].id))
        type_id = uuid4()
        await self.sql(
            """
            WITH made AS (
                 INSERT INTO nft_type (id, code, title, description, category, base_image_url,
                                       is_onchain_capable, default_onchain_policy, metadata_schema)
                 VALUES (:id, :code, :code, '', 'traveler', 'https://i.example/x.png',
                         true, 'always', '{}')
                 RETURNING id)
            INSERT INTO nft_level_rule (type_id, level, title, description, rarity, conditions,
                                        auto_mint_onchain, "order")
            SELECT id, 1, 'I', '', 'common', '{}', true, 1 FROM made
            """,
            id=type_id,
            code=code,
        )
        return type_id

    async def badges(
        self, count: int = 1, code: str = "explorer", *, wallets: bool = True
    ) -> list[Badge]:
        """Make active badges, each of a user of its own with a linked wallet, and no task."""
        type_id = await self.badge_type(code)
        made = [
            Badge(uuid4(), uuid4(), RawAddress(f"0:{uuid4().hex}{uuid4().hex}"))
            for _ in range(count)
        ]
        await self.earn(made, type_id)
        if wallets:
            await self.link(made)
        return made

    async def earn(self, badges: Sequence[Badge], type_id: UUID) -> None:
        """Write active badges of a type."""
        await self.sql(
            """
            INSERT INTO nft_instance (id, type_id, user_id, current_level, source_service,
                                      tenant_id)
            SELECT id, :type_id, user_id, 1, 'quest_service', :tenant
              FROM unnest(CAST(:ids AS uuid[]), CAST(:users AS uuid[])) AS given (id, user_id)
            """,
            ids=[badge.id for badge in badges],
            users=[badge.user_id for badge in badges],
            type_id=type_id,
            tenant=DEFAULT_TENANT,
        )

    async def link(self, badges: Sequence[Badge]) -> None:
        """Link each badge's user to the badge's owner address."""
        await self.sql(
            """
            INSERT INTO user_wallet (user_id, address, linked_at)
            SELECT user_id, address, :at
              FROM unnest(CAST(:users AS uuid[]), CAST(:addresses AS text[]))
                AS given (user_id, address)
            """,
            users=[badge.user_id for badge in badges],
            addresses=[badge.owner for badge in badges],
            at=datetime(2026, 1, 1, tzinfo=UTC),
        )

    async def enqueue(
        self, badges: Sequence[Badge], operation: TaskOperation = TaskOperation.MINT
    ) -> int:
        """Enqueue a task for each badge, as the processor does."""
        async with self.db.transaction() as conn:
            return await mint_queue.enqueue(
                conn, [NewTask(badge.id, operation) for badge in badges]
            )

    async def to_mint(self, count: int = 1, code: str = "explorer") -> list[Badge]:
        """Make badges with an open mint each."""
        made = await self.badges(count, code)
        await self.enqueue(made)
        return made

    async def statuses(self, badges: Sequence[Badge]) -> list[str]:
        """Return `status/onchain_status` of each badge."""
        rows = await self.sql(
            """
            SELECT id, status || '/' || onchain_status AS word
              FROM nft_instance WHERE id = ANY(CAST(:ids AS uuid[]))
            """,
            ids=[badge.id for badge in badges],
        )
        by_id = {row.id: row.word for row in rows}
        return [by_id[badge.id] for badge in badges]

    async def tasks(self, badge: Badge) -> list[str]:
        """Return `operation status` of a badge's tasks, oldest first."""
        rows = await self.sql(
            """
            SELECT operation || ' ' || status AS word
              FROM nft_mint_queue WHERE nft_instance_id = :id ORDER BY created_at, operation DESC
            """,
            id=badge.id,
        )
        return [row.word for row in rows]

    async def audit(self, badge: Badge) -> list[str]:
        """Return the audit actions of a badge, oldest first."""
        rows = await self.sql(
            "SELECT action FROM nft_audit_log WHERE nft_instance_id = :id ORDER BY created_at, id",
            id=badge.id,
        )
        return [row.action for row in rows]

    async def published(self, badge: Badge) -> list[str]:
        """Return the outbox's event types about a badge's user, in their order."""
        rows = await self.sql(
            "SELECT event_type FROM outbox_message WHERE user_id = :id ORDER BY seq",
            id=badge.user_id,
        )
        return [row.event_type for row in rows]

    async def dump(self) -> str:
        """Return queue and messages for a failure's report."""
        tasks = await self.sql(
            """
            SELECT operation, status, token_index, retry_count, last_error, hold_reason
              FROM nft_mint_queue ORDER BY created_at LIMIT 20
            """
        )
        messages = await self.sql(
            """
            SELECT kind, status, send_count, query_seq, signed_at
              FROM chain_message ORDER BY query_seq
            """
        )
        return json.dumps(
            [[list(row) for row in tasks], [list(row) for row in messages]], default=str, indent=1
        )


@asynccontextmanager
async def minting(
    settings: Settings, readiness: Readiness | None = None, watchdog: Watchdog | None = None
) -> AsyncIterator[MinterContext]:
    """Run a minter on this loop while the block runs."""
    readiness, stop = readiness or Readiness(), Stop()
    dog = watchdog or Watchdog(settings.lifecycle.stall_after)  # nobody looks
    async with minter_context(settings, readiness) as ctx:
        daemon = asyncio.create_task(Daemon(ctx, readiness, stop, dog).run())
        try:
            yield ctx
        finally:
            stop.request()
            await daemon


async def eventually(world: World, check: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until `check` holds.

    Raises:
        AssertionError: it did not; the message shows the queue.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not await check():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {PATIENCE_S} s: {what}\n{await world.dump()}")
        await asyncio.sleep(0.05)


async def all_in(world: World, badges: Sequence[Badge], status: str) -> None:
    """Wait until every badge is `status/onchain_status`."""

    async def check() -> bool:
        return set(await world.statuses(badges)) == {status}

    await eventually(world, check, f"{len(badges)} badges {status}")


async def items_of(ctx: MinterContext, code: str = "explorer") -> list[Token]:
    """Return every token of a type's collection, by index, as the chain has them now."""
    collection = tokens.collection(
        ctx.wallet.address,
        metadata_uris.collection_uri(ctx.metadata_base_url, TypeCode(code)),
        metadata_uris.item_prefix(ctx.metadata_base_url, TypeCode(code)),
    )
    block = await ctx.gateway.newest_block()
    account = await ctx.gateway.account(collection.address, block)
    if account.data is None:
        return []
    count = tokens.parse_collection(account.data).next_item_index
    addresses = [tokens.item_address(collection.address, index) for index in range(count)]
    found = []
    for item in await ctx.gateway.accounts(addresses, block):
        assert item.data is not None
        token = tokens.parse_item(item.data).token
        assert token is not None
        found.append(token)
    return found


async def has_task(world: World, badge: Badge, word: str) -> bool:
    """Return whether a badge has the task `operation status`."""
    return word in await world.tasks(badge)


async def is_value(world: World, statement: str, wanted: object) -> bool:
    """Return whether a statement's one value is `wanted`; no row is no."""
    rows = await world.sql(statement)
    return [tuple(row) for row in rows] == [(wanted,)]


async def destroy(ton: TonNetwork, user: int, token_id: str, *, seqno: int = 0) -> None:
    """Let a user of the network destroy a token of theirs; return when it is in a block."""
    wallet = user_wallet(user)
    body = Builder().uint(tokens.OP_DESTROY, 32).uint(0, 64).end()
    valid_until = ton.chain.last.utime + 60
    ton.chain.submit(
        wallet.transfer(
            Address.parse(token_id), 50_000_000, body, seqno=seqno, valid_until=valid_until
        )
    )
    for _ in range(3):
        await ton.next_block()

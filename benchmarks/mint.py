"""Tokens minted and confirmed a second, beside the bare virtual machine.

The limit is what no way of minting beats on this network: the transactions that a token takes (the
collection's, the item's, the change that comes back), recorded while a few are minted and then
executed again by that machine one after the other, with nothing around them. The minter's figure is
from the first task in the queue to the last token confirmed, over pytonlib, with the network in a
process of its own.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch
from uuid import UUID, uuid4

from pydantic import SecretStr
from sqlalchemy import text

from benchmarks._database import database, hush
from benchmarks._table import Rate, ratio, show
from minter.daemon import Daemon
from minter.startup import minter_context, minting_wallet
from minter.ton import mnemonic
from ops.lifecycle import Readiness, Stop
from ops.setting_parts import HttpSettings
from ops.settings import DEFAULT_TENANT, Settings
from ops.watchdog import Watchdog
from sandbox.postgres import PostgresServer, postgres
from sandbox.process import PartMissing
from sandbox.ton.boc import to_boc
from sandbox.ton.emulator import Emulator, Executed, Outcome
from sandbox.ton.network import TonNetwork, TonOptions
from sandbox.ton.process import ton_network
from store import mint_queue
from store.engine import Database
from store.mint_queue import NewTask
from store.values.minting import TaskOperation

TOKENS = int(os.environ.get("BENCH_TOKENS", "1000"))
RECORDED = 120  # a whole message of the highload wallet
FUNDS_NANO = 1_000 * 10**9
BLOCK_INTERVAL = timedelta(milliseconds=400)  # as of `laurel demo`
_POLL_S = 0.05

Call = tuple[bytes, bytes, int, int, str]
Fund = Callable[[str, int], Awaitable[object]]


class Recorder:
    """What the virtual machine was asked, where a transaction came of it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._execute = Emulator.execute

    def around(self) -> Callable[..., Outcome]:
        """Return what takes the place of Emulator.execute: it executes, and remembers."""

        def execute(
            machine: Emulator, account: bytes, message: bytes, *, utime: int, lt: int, seed: str
        ) -> Outcome:
            outcome = self._execute(machine, account, message, utime=utime, lt=lt, seed=seed)
            if isinstance(outcome, Executed):
                self.calls.append((account, message, utime, lt, seed))
            return outcome

        return execute

    def replay(self, config: bytes, rounds: int) -> float:
        """Return the seconds that the recorded calls take on a machine with nothing else to do."""
        with Emulator(config) as machine:
            started = time.perf_counter()
            for _ in range(rounds):
                for account, message, utime, lt, seed in self.calls:
                    self._execute(machine, account, message, utime=utime, lt=lt, seed=seed)
            return (time.perf_counter() - started) / rounds


@asynccontextmanager
async def minting(
    db: Database, url: str, config: Path, words: Path, fund: Fund
) -> AsyncIterator[None]:
    """Run a minter with money and with every collection deployed.

    One token of each type is minted first.
    """
    settings = Settings(
        database_url=SecretStr(url),
        ton_config=config,
        wallet_mnemonic_file=words,
        http=HttpSettings(enabled=False),
    )
    _, wallet = minting_wallet(settings)
    await fund(wallet.address, FUNDS_NANO)
    readiness, stop = Readiness(), Stop()
    async with minter_context(settings, readiness) as ctx:
        daemon = asyncio.create_task(
            Daemon(ctx, readiness, stop, Watchdog(settings.lifecycle.stall_after)).run()
        )
        try:
            types = await _types(db)
            await mint(db, len(types))
            yield
        finally:
            stop.request()
            await daemon


async def mint(db: Database, number: int) -> float:
    """Let `number` badges, evenly of all types, become tokens.

    Return the seconds until the last is confirmed.
    """
    types = await _types(db)
    badges, users = [uuid4() for _ in range(number)], [uuid4() for _ in range(number)]
    given = {
        "ids": badges,
        "users": users,
        "types": [types[position % len(types)] for position in range(number)],
        "addresses": [f"0:{uuid4().hex}{uuid4().hex}" for _ in range(number)],
        "tenant": DEFAULT_TENANT,
    }
    async with db.transaction() as conn:
        await conn.execute(_BADGES, given)
        await conn.execute(_WALLETS, given)
    started = time.perf_counter()
    async with db.transaction() as conn:
        await mint_queue.enqueue(conn, [NewTask(badge, TaskOperation.MINT) for badge in badges])
    waiting = number
    while waiting:
        await asyncio.sleep(_POLL_S)
        async with db.transaction() as conn:
            waiting = int((await conn.execute(_OPEN)).scalar_one())
    return time.perf_counter() - started


_BADGES = text("""
    INSERT INTO nft_instance (id, type_id, user_id, current_level, source_service, tenant_id)
    SELECT id, type_id, user_id, 1, 'benchmark', :tenant
      FROM unnest(CAST(:ids AS uuid[]), CAST(:types AS uuid[]), CAST(:users AS uuid[]))
           AS given (id, type_id, user_id)
""")
_WALLETS = text("""
    INSERT INTO user_wallet (user_id, address, linked_at)
    SELECT user_id, address, now()
      FROM unnest(CAST(:users AS uuid[]), CAST(:addresses AS text[])) AS given (user_id, address)
""")
_OPEN = text("SELECT count(*) FROM nft_instance WHERE onchain_status <> 'minted'")


async def _types(db: Database) -> list[UUID]:
    async with db.transaction() as conn:
        found = await conn.execute(
            text("SELECT id FROM nft_type WHERE is_onchain_capable ORDER BY code")
        )
        return list(found.scalars())


async def limit(server: PostgresServer, words: Path, directory: Path) -> Rate:
    """Return how many tokens a second the bare machine could make."""
    rate, recorder = Rate("bare transactions of the same tokens"), Recorder()
    options = TonOptions(block_interval=timedelta(milliseconds=100), directory=directory)
    with patch.object(Emulator, "execute", recorder.around()):
        async with (
            database(server, "recorded") as db,
            TonNetwork.start(options) as network,
            minting(db, server.url_of("recorded"), network.config_path, words, network.fund),
        ):
            recorder.calls.clear()
            await mint(db, RECORDED)
            config = to_boc(network.chain.network.config.root)
    print(f"  {len(recorder.calls) / RECORDED:.1f} transactions a token")
    rate.add(RECORDED, recorder.replay(config, rounds=3))
    return rate


async def ours(server: PostgresServer, words: Path, directory: Path) -> Rate:
    """Return how many tokens a second are minted and confirmed."""
    rate = Rate("laurel minter")
    with ton_network(directory, block_interval=BLOCK_INTERVAL) as network:
        async with (
            database(server, "minted") as db,
            minting(db, server.url_of("minted"), network.config_path, words, network.fund),
        ):
            rate.add(TOKENS, await mint(db, TOKENS))
    return rate


async def main() -> None:
    """Measure both."""
    with tempfile.TemporaryDirectory(prefix="laurel-bench-") as directory, postgres() as server:
        words = Path(directory) / "wallet.words"
        mnemonic.write_new(words)
        bare = await limit(server, words, Path(directory) / "recorded")
        minted = await ours(server, words, Path(directory) / "minted")
    print(f"  {TOKENS} tokens of five types, a block each {BLOCK_INTERVAL.total_seconds()} s")
    show([minted, bare], "tokens")
    ratio(minted, bare, "0.3, towards 0.5, by op-2 batches; these are op-1")


if __name__ == "__main__":
    hush()
    try:
        asyncio.run(main())
    except PartMissing as error:
        print(f"  left out: {error.message}")

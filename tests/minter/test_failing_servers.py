"""Minting goes on beside lite servers that fail, wherever they stand in the list."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from minter.comparison import FindingKind
from minter.daemon import Daemon
from minter.maintenance import Maintenance
from minter.reconcile import reconcile
from minter.startup import minter_context, minting_wallet
from minter.ton import tokens
from minter.ton.gateway import ChainUnreachable
from ops import metrics
from ops.lifecycle import Part, Readiness, Stop
from ops.settings import Settings
from ops.watchdog import Watchdog
from sandbox.ton.cells import Address
from sandbox.ton.chain import ChainOptions
from sandbox.ton.network import TonNetwork, TonOptions, write_json
from store.engine import DatabaseUnreachable
from store.values.minting import TaskOperation
from tests.builders.clock import FakeClock
from tests.builders.lite_servers import ACCOUNT, FailingServer, lite_servers
from tests.builders.world import World, all_in, eventually, items_of, minting

pytestmark = pytest.mark.integration


@asynccontextmanager
async def through(
    servers: Sequence[FailingServer | None], ton: TonNetwork, settings: Settings, directory: Path
) -> AsyncIterator[Settings]:
    """Yield settings of a minter that knows these lite servers."""
    async with lite_servers(ton, servers) as config:
        write_json(directory / "servers.json", config)
        yield settings.model_copy(update={"ton_config": directory / "servers.json"})


def stall(server: FailingServer) -> None:
    server.stall()


def fall_silent(server: FailingServer) -> None:
    server.silent_on = {""}


def keep_accounts_back(server: FailingServer) -> None:
    server.silent_on = {ACCOUNT}


def slow_down(server: FailingServer) -> None:
    server.delay_s = 5.0


def lie(server: FailingServer) -> None:
    server.lies = True


@pytest.mark.parametrize("fail", [stall, fall_silent, keep_accounts_back, slow_down, lie])
async def test_badges_are_minted_beside_four_lite_servers_that_fail(
    fail: Callable[[FailingServer], None],
    ton: TonNetwork,
    world: World,
    settings: Settings,
    tmp_path: Path,
) -> None:
    failing = [FailingServer(ton) for _ in range(4)]
    async with through([*failing, None], ton, settings, tmp_path) as five, minting(five):
        await all_in(world, await world.to_mint(), "active/minted")
        for server in failing:
            fail(server)
        await all_in(world, await world.to_mint(), "active/minted")


async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(b"\xff" * 65_536)
            await writer.drain()


async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while heard := await reader.read(65_536):
            writer.write(heard)
            await writer.drain()
    writer.close()


async def test_badges_are_minted_beside_what_is_no_lite_server_at_all(
    ton: TonNetwork, world: World, settings: Settings, tmp_path: Path
) -> None:
    """Whoever has taken over its address: it hangs up, or says what nobody asked."""
    config = copy.deepcopy(ton.config)
    (own,) = config["liteservers"]
    async with AsyncExitStack() as stack:
        for speak in (hang_up, babble, repeat):
            other = await asyncio.start_server(speak, "127.0.0.1", 0)
            stack.callback(other.close)
            port = other.sockets[0].getsockname()[1]
            config["liteservers"].insert(0, own | {"port": port})
        write_json(tmp_path / "servers.json", config)
        four = settings.model_copy(update={"ton_config": tmp_path / "servers.json"})
        async with minting(four):
            for _ in range(3):
                await all_in(world, await world.to_mint(), "active/minted")


async def test_badges_are_minted_beside_lite_servers_of_another_network(
    ton: TonNetwork, world: World, settings: Settings, tmp_path: Path
) -> None:
    """Listed first, with more blocks; the key's wallet has money there, and they get each message."""
    options = TonOptions(
        chain=ChainOptions(seed="another"),
        block_interval=timedelta(milliseconds=50),
        directory=tmp_path / "another",
    )
    async with TonNetwork.start(options) as other:
        config = copy.deepcopy(ton.config)
        config["liteservers"] = [*other.config["liteservers"] * 3, *config["liteservers"]]
        write_json(tmp_path / "servers.json", config)
        mixed = settings.model_copy(update={"ton_config": tmp_path / "servers.json"})
        _, theirs = minting_wallet(settings.model_copy(update={"ton_config": other.config_path}))
        await other.fund(theirs.address, 10**9)
        async with minting(mixed) as ctx:
            for _ in range(3):
                await all_in(world, await world.to_mint(), "active/minted")
            assert len(await items_of(ctx)) == 3
        elsewhere = other.chain.account(Address.parse(theirs.address))
        assert elsewhere is not None
        assert elsewhere.balance_nano == 10**9, "it executed nothing"


async def test_reading_that_takes_longer_than_a_block_lets_one_sign(
    ton: TonNetwork, world: World, settings: Settings, tmp_path: Path
) -> None:
    """Newer blocks come and are written down meanwhile: they are no reason to begin anew."""
    only = FailingServer(ton)
    async with through([only], ton, settings, tmp_path) as one, minting(one):
        await all_in(world, await world.to_mint(), "active/minted")
        only.slow_accounts = {await world.value("SELECT address FROM chain_collection")}
        only.delay_s = 2.5
        await all_in(world, await world.to_mint(2), "active/minted")


async def test_an_account_that_nobody_shows_holds_up_no_other(
    ton: TonNetwork, world: World, settings: Settings, tmp_path: Path
) -> None:
    """Neither the mints of its message, nor the burns of its type, nor a comparison of all."""
    only = FailingServer(ton)
    async with through([only], ton, settings, tmp_path) as one, minting(one) as ctx:
        await all_in(world, await world.to_mint(), "active/minted")
        collection = await world.value("SELECT address FROM chain_collection")
        hidden = tokens.item_address(collection, 2)
        only.unreadable = {hidden}
        badges = await world.to_mint(3)

        async def two_of_three() -> bool:
            minted = "active/minted"
            return sorted(await world.statuses(badges)).count(minted) == 2

        await eventually(world, two_of_three, "the others are minted")
        report = await reconcile(world.db, ctx.gateway, repair=True)
        kinds = [(each.finding.kind, each.finding.token_id) for each in report.findings]
        assert kinds == [(FindingKind.UNREADABLE, hidden)]
        assert (report.tokens, report.shut) == (3, None)
        only.unreadable = set()
        await all_in(world, badges, "active/minted")

        only.unreadable = {hidden}
        await world.enqueue(badges, TaskOperation.BURN)

        async def two_are_burned() -> bool:
            return (await world.statuses(badges)).count("burned_onchain/minted") == 2

        await eventually(world, two_are_burned, "the others are burned")
        only.unreadable = set()
        await all_in(world, badges, "burned_onchain/minted")
        assert (await reconcile(world.db, ctx.gateway, repair=False)).findings == ()


async def test_a_minters_comparison_leaves_room_for_its_mints(
    ton: TonNetwork, world: World, settings: Settings, tmp_path: Path
) -> None:
    """However many tokens there are, it reads four at a time; `laurel reconcile` reads more."""
    only, clock = FailingServer(ton), FakeClock()
    async with through([only], ton, settings, tmp_path) as one:
        async with minting(one):
            await all_in(world, await world.to_mint(40), "active/minted")
        async with minter_context(one, Readiness(), clock) as ctx:
            only.delay_s, only.side_by_side = 0.02, 0
            maintenance = Maintenance(ctx)
            clock.advance(ctx.settings.reconcile_every)
            maintenance.compare()
            assert maintenance._comparing is not None
            await maintenance._comparing
            assert only.side_by_side == 4
            assert (await reconcile(world.db, ctx.gateway, repair=False)).tokens == 40
            assert only.side_by_side > 4


async def test_a_collection_that_nobody_shows_holds_up_no_other(
    ton: TonNetwork, world: World, settings: Settings, tmp_path: Path
) -> None:
    only = FailingServer(ton)
    async with through([only], ton, settings, tmp_path) as one:
        async with minting(one) as ctx:
            badges = [*await world.to_mint(), *await world.to_mint(2, "quest_author")]
            await all_in(world, badges, "active/minted")
        async with minter_context(one, Readiness()) as ctx:
            hidden = await world.value(
                "SELECT address FROM chain_collection JOIN nft_type ON nft_type.id = type_id"
                " WHERE code = 'explorer'"
            )
            only.unreadable = {hidden}
            report = await reconcile(world.db, ctx.gateway, repair=False)
            assert [each.finding.token_id for each in report.findings] == [hidden]
            assert report.tokens == 2
            only.silent_on = {""}
            with pytest.raises(ChainUnreachable):
                await reconcile(world.db, ctx.gateway, repair=False)


async def test_a_turn_that_asks_nothing_of_the_database_does_not_call_it_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    readiness = Readiness()
    async with minter_context(settings, readiness) as ctx:
        daemon = Daemon(ctx, readiness, Stop(), Watchdog(settings.lifecycle.stall_after))
        await daemon._turn()
        readiness.wait_for(Part.POSTGRESQL, "it was stopped")

        async def away() -> bool:
            raise DatabaseUnreachable("it was stopped")

        # No sweep is due so soon after the last one, and no newer block need have come.
        with monkeypatch.context() as patched:
            patched.setattr(daemon, "_dispatch", away)
            with pytest.raises(DatabaseUnreachable):
                await daemon._turn()
        assert Part.POSTGRESQL in readiness.waits
        await daemon._turn()
        assert Part.POSTGRESQL not in readiness.waits


async def test_a_block_that_grows_old_is_told(settings: Settings) -> None:
    readiness, clock = Readiness(), FakeClock(datetime.now(UTC))
    async with minter_context(settings, readiness, clock) as ctx:
        daemon = Daemon(ctx, readiness, Stop(), Watchdog(settings.lifecycle.stall_after))
        clock._now = ctx.view.current[0].time
        clock.advance(timedelta(seconds=5))
        daemon._tell_age()
        seqno = ctx.view.current[0].seqno
        assert readiness.facts == {"block": seqno, "block_age_seconds": 5.0}
        assert (Part.TON in readiness.waits, readiness.degraded) == (False, {})

        clock.advance(timedelta(seconds=115))
        daemon._tell_age()
        newest = f"the newest block, {seqno}, is 120 s old"
        assert readiness.waits[Part.TON] == f"no lite server has a newer block: {newest}"
        assert readiness.degraded["block age"].startswith(newest)
        assert metrics.CHAIN_BLOCK_AGE_SECONDS._value.get() == 120

        daemon._tell_age(ChainUnreachable("nobody answers"))
        assert readiness.waits[Part.TON] == f"nobody answers; {newest}"

"""What a minter refuses to work with, and that a stop ends its start."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from minter.checks import CHECKS
from minter.startup import connect, minter_context, minting_wallet, refuse_drift, unless_stopped
from minter.ton.gateway import ChainUnreachable
from minter.ton.liteserver import LiteServers
from minter.ton.values import Block
from ops.checks import CheckState, examine
from ops.errors import LeaseLost, UsageError
from ops.lifecycle import Part, Readiness, Stop
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from sandbox.ton.chain import ChainOptions
from sandbox.ton.network import TonNetwork, TonOptions
from store.chain import WalletIdentity
from store.engine import Database
from store.rights import RightsMissing
from store.values.names import RawAddress
from tests.builders.prices import BEFORE_APRIL_2026
from tests.builders.roles import a_role
from tests.builders.sql import rows
from tests.builders.world import World, all_in, eventually, minting

STORED = WalletIdentity(RawAddress("0:" + "11" * 32), b"k" * 32, 0x10AD, 300, b"z" * 32)
OTHER_ADDRESS = RawAddress("0:" + "22" * 32)


@pytest.mark.parametrize(
    ("configured", "setting"),
    [
        (replace(STORED, zero_state_hash=b"y" * 32), "LAUREL_TON_CONFIG"),
        (
            replace(STORED, public_key=b"l" * 32, address=OTHER_ADDRESS),
            "LAUREL_WALLET_MNEMONIC_FILE",
        ),
        (replace(STORED, timeout_s=600, address=OTHER_ADDRESS), "LAUREL_MINTER__MESSAGE_TTL"),
    ],
)
def test_what_drifted_is_named_by_its_setting(configured: WalletIdentity, setting: str) -> None:
    with pytest.raises(UsageError, match=setting) as caught:
        refuse_drift(STORED, configured)
    assert caught.value.details["setting"] == setting


def test_a_minter_without_words_says_which_setting_is_missing() -> None:
    with pytest.raises(UsageError, match="LAUREL_WALLET_MNEMONIC_FILE"):
        minting_wallet(Settings())


async def test_a_second_start_finds_the_same_wallet(world: World, settings: Settings) -> None:
    async with minter_context(settings, Readiness()) as first:
        pass
    async with minter_context(settings, Readiness()) as second:
        assert second.wallet_id == first.wallet_id
    assert await world.value("SELECT count(*) FROM chain_wallet") == 1


async def test_a_minter_whose_role_lacks_a_right_ends_at_its_start_and_says_what_to_run(
    database: Database, database_url: str, settings: Settings
) -> None:
    async with a_role(database, database_url) as role:
        await role.grant("USAGE ON SCHEMA public")
        await role.grant("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public")
        await rows(database, f'REVOKE UPDATE ON nft_mint_queue FROM "{role.name}"')
        limited = settings.model_copy(update={"database_url": SecretStr(role.url)})
        with pytest.raises(RightsMissing, match=r"GRANT UPDATE ON public\.nft_mint_queue"):
            async with minter_context(limited, Readiness()):
                pass
        await role.grant("UPDATE ON nft_mint_queue")
        # It counts nothing, so it needs no temporary tables.
        async with minter_context(limited, Readiness()) as ctx:
            assert await rows(database, "SELECT id FROM chain_wallet") == [(ctx.wallet_id,)]


async def test_reconcile_refuses_a_database_of_another_network(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    async with minter_context(settings, Readiness()):
        pass
    options = TonOptions(
        chain=ChainOptions(seed="another"), block_interval=None, directory=tmp_path / "another"
    )
    async with TonNetwork.start(options) as other:
        elsewhere = settings.model_copy(update={"ton_config": other.config_path})
        with pytest.raises(UsageError, match="belongs to the TON network with zero state"):
            async with connect(elsewhere):
                pass
    assert await world.value("SELECT count(*) FROM chain_wallet") == 1


def on_a_network_that_is_not_local(settings: Settings, directory: Path) -> Settings:
    """The same network, as its config would be written by somebody else."""
    config = json.loads(Path(settings.need("ton_config")).read_text())
    del config["laurel_local_network"]
    path = directory / "another.config.json"
    path.write_text(json.dumps(config))
    return settings.model_copy(update={"ton_config": path})


async def test_without_an_address_for_metadata_nothing_is_minted_but_on_the_local_network(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    elsewhere = on_a_network_that_is_not_local(settings, tmp_path)
    with pytest.raises(UsageError, match=r"^LAUREL_METADATA_BASE_URL is not set"):
        async with minter_context(elsewhere, Readiness()):
            pass
    assert await world.value("SELECT count(*) FROM chain_wallet") == 0
    (check,) = await examine([each for each in CHECKS if "metadata" in each.lines], elsewhere)
    assert check.state is CheckState.FAIL
    for host in ("badges.example", "badges.your-domain", "localhost:8000", "127.0.0.1", "badges"):
        address = f"https://{host}/metadata"
        nobodys = elsewhere.model_copy(update={"metadata_base_url": address})
        with pytest.raises(UsageError, match="nobody's name, or this machine's alone"):
            async with minter_context(nobodys, Readiness()):
                pass
    assert await world.value("SELECT count(*) FROM chain_wallet") == 0
    named = elsewhere.model_copy(update={"metadata_base_url": "https://badges.mine/metadata"})
    async with minter_context(named, Readiness()) as ctx:
        assert ctx.metadata_base_url == "https://badges.mine/metadata"


async def test_metadata_that_is_on_chain_elsewhere_is_refused_with_the_address_to_set(
    minted_one: None, settings: Settings
) -> None:
    moved = settings.model_copy(update={"metadata_base_url": "https://moved.example/metadata"})
    with pytest.raises(UsageError, match=r"Set it back to https://badges[.]example/metadata;"):
        async with minter_context(moved, Readiness()):
            pass
    (check,) = await examine([each for each in CHECKS if "metadata" in each.lines], moved)
    assert (check.state, "Set it back to" in check.detail) == (CheckState.FAIL, True)
    back = settings.model_copy(update={"metadata_base_url": "https://badges.example/metadata"})
    async with minter_context(back, Readiness()) as ctx:
        assert ctx.metadata_base_url == "https://badges.example/metadata"


async def test_a_collection_that_only_the_chain_knows_to_be_deployed_is_not_forgotten(
    minted_one: None, world: World, settings: Settings
) -> None:
    """A database from before its deployment: made anew elsewhere, all of it would be minted again.

    The row is there, as a minter writes it before it signs.
    """
    for statement in (
        "DELETE FROM mint_task_event",
        "DELETE FROM nft_mint_queue",
        "UPDATE nft_instance SET onchain_status = 'not_minted', onchain_token_id = NULL",
        "DELETE FROM chain_message",
        "UPDATE chain_collection SET deployed_at = NULL, next_index = 0",
    ):
        await world.sql(statement)
    moved = settings.model_copy(update={"metadata_base_url": "https://moved.example/metadata"})
    with pytest.raises(UsageError, match=r"Set it back to https://badges[.]example/metadata;"):
        async with minter_context(moved, Readiness()):
            pass
    assert await world.value("SELECT count(*) FROM chain_collection") == 1


async def test_an_address_for_metadata_may_change_until_something_is_signed(
    world: World, settings: Settings
) -> None:
    """A typing error that is seen before the wallet has money costs nothing."""
    poor = settings.model_copy(update={"minter": MinterSettings(balance_reserve=Decimal(1_000))})
    (badge,) = await world.to_mint()
    readiness = Readiness()
    async with minting(poor, readiness):

        async def without_money() -> bool:
            return Part.WALLET in readiness.waits

        await eventually(world, without_money, "the collection is written down, and not signed")
    right = settings.model_copy(update={"metadata_base_url": "https://right.example/metadata"})
    async with minting(right):
        await all_in(world, [badge], "active/minted")
    prefix = await world.value("SELECT item_prefix FROM chain_collection")
    assert prefix == "https://right.example/metadata/explorer/"


@pytest.fixture
async def dear(tmp_path: Path, virtual_machine: Path) -> AsyncIterator[TonNetwork]:
    """A network that takes six times as much, as the main network did before April 2026."""
    chain = ChainOptions(prices=BEFORE_APRIL_2026, emulator_library=virtual_machine)
    options = TonOptions(
        chain=chain, block_interval=timedelta(milliseconds=100), directory=tmp_path / "dear"
    )
    async with TonNetwork.start(options) as network:
        yield network


async def test_values_that_can_do_nothing_at_the_networks_prices_are_refused_by_name(
    world: World, settings: Settings, dear: TonNetwork
) -> None:
    amounts = {
        "item_value": Decimal("0.002"),
        "item_forward": Decimal("0.0005"),
        "revoke_value": Decimal("0.0016"),
        "deploy_value": Decimal("0.003"),
    }
    minter = MinterSettings(**amounts)
    async with minter_context(settings.model_copy(update={"minter": minter}), Readiness()):
        pass
    await world.sql("TRUNCATE chain_wallet CASCADE")
    update = {"minter": minter, "ton_config": dear.config_path}
    with pytest.raises(UsageError) as caught:
        async with minter_context(settings.model_copy(update=update), Readiness()):
            pass
    named = re.findall(r"LAUREL_MINTER__(\w+) is ([\d.]+) .* at least ([\d.]+)", str(caught.value))
    assert named == [
        ("ITEM_FORWARD", "0.0005", "0.0012816"),
        ("ITEM_VALUE", "0.002", "0.0084552"),
        ("REVOKE_VALUE", "0.0016", "0.0016812"),
    ]


async def test_the_default_values_start_a_minter_at_dear_prices_too(
    world: World, settings: Settings, dear: TonNetwork
) -> None:
    del world
    there = settings.model_copy(update={"minter": MinterSettings(), "ton_config": dear.config_path})
    async with minter_context(there, Readiness()) as ctx:
        assert ctx.settings == MinterSettings()


async def test_without_the_networks_prices_the_settings_bounds_have_to_do(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    del world

    async def hidden(_self: LiteServers, number: int, _block: Block) -> bytes:
        raise ChainUnreachable(f"no parameter {number} here")

    monkeypatch.setattr(LiteServers, "config_parameter", hidden)
    with structlog.testing.capture_logs() as lines:
        async with minter_context(settings, Readiness()) as ctx:
            assert ctx.settings == settings.minter
    assert {"event": "prices_unknown", "reason": "no parameter 21 here"}.items() <= next(
        line for line in lines if line["event"] == "prices_unknown"
    ).items()


async def test_work_that_ends_before_the_stop_gives_its_result() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await unless_stopped(Stop(), work()) == 7


async def test_the_stop_ends_the_work_and_there_is_no_result() -> None:
    stop, ended = Stop(), asyncio.Event()

    async def work() -> int:
        stop.request()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("an event that nobody sets was set")

    assert await unless_stopped(stop, work()) is None
    assert ended.is_set()


async def test_an_error_of_the_work_is_the_callers() -> None:
    async def work() -> int:
        raise LeaseLost("gone")

    with pytest.raises(LeaseLost):
        await unless_stopped(Stop(), work())

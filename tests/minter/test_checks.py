"""What `laurel doctor` says of wallet and chain."""

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from ton_core.boc.builder import Builder

from minter import inspection
from minter.budget import Prices
from minter.checks import CHECKS, server_said
from minter.context import MinterContext
from minter.inspection import Funds, block_said
from minter.startup import minting_wallet
from minter.ton.highload_wallet import Action, MessageHeader, sign_message
from minter.ton.liteserver import ServerTip
from minter.ton.values import Account, Block
from ops.checks import CheckResult, CheckState, Said, examine
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from sandbox.ton.network import TonNetwork, write_json
from sandbox.ton.process import TonProcess
from store.values.names import RawAddress
from tests.builders.clock import FakeClock
from tests.builders.lite_servers import FailingServer, lite_servers
from tests.builders.minters import collection_of, minter_on
from tests.builders.world import World

OK, WARN, FAIL, SKIP = CheckState.OK, CheckState.WARN, CheckState.FAIL, CheckState.SKIP
ELSEWHERE = RawAddress("0:" + "ee" * 32)


async def said_of(settings: Settings) -> dict[str, CheckResult]:
    return {each.name: each for each in await examine(CHECKS, settings)}


def read(said: Said) -> tuple[CheckState, str]:
    line = CheckResult.of("any", said)
    return line.state, line.detail


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that do not answer at all are waited for a second."""
    monkeypatch.setattr("minter.checks.SERVER_PATIENCE", timedelta(seconds=1))


async def test_wallet_and_network_as_they_should_be(settings: Settings) -> None:
    found = await said_of(settings)
    (server,) = (name for name in found if name.startswith("lite server 127.0.0.1:"))
    assert [(name, each.state) for name, each in found.items()] == [
        (name, OK)
        for name in ("wallet", "network", "minting", server, "ton", "prices", "balance", "metadata")
    ]
    assert minting_wallet(settings)[1].address in found["wallet"].detail
    assert found["ton"].detail.startswith("masterchain block ")
    assert found["balance"].detail.startswith("100 Grams, enough for 4,489 mints")
    assert ", at UQ" in found["balance"].detail
    assert found["balance"].detail.endswith("not deployed yet: its first message does it")
    assert found["network"].detail.startswith("the database belongs to no network yet")


async def test_words_that_are_not_there_are_named(settings: Settings, tmp_path: Path) -> None:
    changed = settings.model_copy(update={"wallet_mnemonic_file": tmp_path / "gone.words"})
    found = await said_of(changed)
    assert (found["wallet"].state, found["ton"].state) == (FAIL, OK)
    assert "gone.words" in found["wallet"].detail


async def test_an_empty_wallet_says_what_to_send_it(
    ton: TonNetwork, database_url: str, mnemonic_file: Path, minter_settings: MinterSettings
) -> None:
    found = await said_of(minter_on(ton, database_url, mnemonic_file, minter_settings))
    assert found["balance"].state is FAIL
    assert found["balance"].detail.endswith("Send it 11 Grams or more.")
    assert found["ton"].state is OK


async def test_collections_are_held_against_the_wallet(
    ton: TonNetwork, ctx: MinterContext, settings: Settings, world: World
) -> None:
    collection = await collection_of(ctx)
    found = await said_of(settings)
    assert found["collection explorer"] == CheckResult(
        "collection explorer", OK, f"{collection.address} obeys this wallet; tokens: 1"
    )
    assert found["network"].detail.endswith(f"and to the wallet {ctx.wallet.address}")
    without_words = settings.model_copy(update={"wallet_mnemonic_file": None})
    assert (await said_of(without_words))["collection explorer"].state is OK

    change_owner = Builder().store_uint(3, 32).store_uint(0, 64).store_address(ELSEWHERE)
    handed_over = sign_message(
        ctx.wallet,
        ctx.signer,
        [Action(collection.address, 10**8, change_owner.end_cell())],
        MessageHeader(5_000, ctx.view.current[0].time, deploy=False),
    )
    ton.chain.submit(handed_over.boc)
    for _ in range(3):
        await ton.next_block()
    found = await said_of(settings)
    assert found["collection explorer"].state is FAIL
    assert f"obeys {ELSEWHERE}, and not this wallet" in found["collection explorer"].detail
    assert found["balance"].state is OK


async def test_what_is_stopped_or_shut_is_told_with_the_way_out(
    minted_one: None, settings: Settings, world: World
) -> None:
    del minted_one
    await world.sql("UPDATE chain_collection SET breaker = 'two counts'")
    await world.sql(
        "UPDATE chain_wallet SET shut_reason = 'restored', shut_until = now(), shut_needs_repair = true"
    )
    found = await said_of(settings)
    assert (found["collection explorer"].state, found["minting"].state) == (FAIL, FAIL)
    assert "two counts. Run `laurel reconcile --repair`" in found["collection explorer"].detail
    assert "restored. Run `laurel reconcile --repair`" in found["minting"].detail
    await world.sql("UPDATE chain_collection SET stopped_reason = 'it mints nothing'")
    await world.sql("UPDATE chain_wallet SET shut_needs_repair = false")
    found = await said_of(settings)
    assert "`laurel queue release --type explorer " in found["collection explorer"].detail
    assert found["minting"].detail.endswith("It opens by itself.")


async def test_a_lite_server_that_hangs_is_told_beside_one_that_answers(
    ton: TonNetwork, settings: Settings, tmp_path: Path, hurried: None
) -> None:
    del hurried
    silent, stalled = FailingServer(ton), FailingServer(ton)
    silent.silent_on = {""}
    stalled.stall()
    for _ in range(12):
        await ton.next_block()
    async with lite_servers(ton, [silent, None, stalled]) as config:
        write_json(tmp_path / "servers.json", config)
        found = await said_of(settings.model_copy(update={"ton_config": tmp_path / "servers.json"}))
    servers = [each for name, each in found.items() if name.startswith("lite server")]
    assert [each.state for each in servers] == [WARN, OK, WARN]
    assert "no proven block within 1 s" in servers[0].detail
    assert "it stalls" in servers[2].detail
    assert (found["ton"].state, found["balance"].state) == (OK, OK)


async def test_a_lite_server_whose_process_is_stopped_hides_nothing_else(
    ton_process: TonProcess, database_url: str, mnemonic_file: Path, hurried: None
) -> None:
    del hurried
    settings = Settings(
        database_url=SecretStr(database_url),
        ton_config=ton_process.config_path,
        wallet_mnemonic_file=mnemonic_file,
    )
    os.kill(ton_process.pid, signal.SIGSTOP)
    try:
        found = await said_of(settings)
    finally:
        os.kill(ton_process.pid, signal.SIGCONT)
    (server,) = (each for name, each in found.items() if name.startswith("lite server"))
    assert (server.state, found["ton"].state) == (FAIL, FAIL)
    assert {found[name].state for name in ("wallet", "network", "metadata")} == {OK}
    assert {found[name].state for name in ("prices", "balance")} == {SKIP}


async def test_without_the_database_the_chain_is_looked_at_all_the_same(
    settings: Settings,
) -> None:
    away = SecretStr("postgresql://laurel@127.0.0.1:9/laurel")
    found = await said_of(settings.model_copy(update={"database_url": away}))
    assert (found["network"].state, found["minting"].state) == (FAIL, FAIL)
    assert {found[name].state for name in ("ton", "balance", "metadata")} == {OK}


async def test_a_wallet_of_another_database_is_named(
    minted_one: None, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.builders.minters import new_wallet

    del minted_one
    other = settings.model_copy(update={"wallet_mnemonic_file": new_wallet(tmp_path_factory)})
    found = await said_of(other)
    assert found["network"].state is FAIL
    assert "LAUREL_WALLET_MNEMONIC_FILE holds the words of" in found["network"].detail


async def test_values_that_do_not_do_their_work_are_named(settings: Settings) -> None:
    from decimal import Decimal

    little = settings.minter.model_copy(update={"item_forward": Decimal("0.00001")})
    found = await said_of(settings.model_copy(update={"minter": little}))
    assert found["prices"].state is FAIL
    assert "LAUREL_MINTER__ITEM_FORWARD" in found["prices"].detail


async def test_what_was_proven_of_the_chain_is_read_and_not_written(
    settings: Settings, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with_state = settings.model_copy(update={"ton_state_dir": state})
    assert (await said_of(with_state))["ton"].state is OK
    assert not state.exists()
    state.mkdir()
    (state / "kept").write_text("as it was")
    assert (await said_of(with_state))["ton"].state is OK
    assert [(each.name, each.read_text()) for each in state.iterdir()] == [("kept", "as it was")]
    taken = tmp_path / "file"
    taken.write_text("")
    found = await said_of(settings.model_copy(update={"ton_state_dir": taken}))
    assert (found["ton state"].state, found["ton"].state) == (FAIL, OK)


BLOCK = Block(100, FakeClock().now(), "", "")


@pytest.mark.parametrize(
    ("seconds", "state", "words"),
    [
        (29, OK, "29 s old"),
        (31, WARN, "31 s old. List other lite servers"),
        (301, FAIL, "5 min old"),
        (-31, WARN, "31 s in the future by this host's clock"),
        (-301, FAIL, "5 min in the future"),
    ],
)
def test_a_chain_that_stands_is_told_by_the_age_of_its_newest_block(
    seconds: int, state: CheckState, words: str
) -> None:
    clock = FakeClock(BLOCK.time + timedelta(seconds=seconds))
    found = read(block_said(BLOCK, clock))
    assert (found[0], words in found[1]) == (state, True), found


@pytest.mark.parametrize(
    ("tip", "newest", "state", "words"),
    [
        (ServerTip("h:1", BLOCK, "", 0.12), BLOCK, OK, "block 100, 0 behind, in 0.1 s"),
        (ServerTip("h:1", Block(90, BLOCK.time, "", ""), "", 0.1), BLOCK, OK, "10 behind"),
        (ServerTip("h:1", Block(89, BLOCK.time, "", ""), "", 0.1), BLOCK, WARN, "it stalls"),
        (ServerTip("h:1", None, "gone", 11), BLOCK, WARN, "gone. The other ones"),
        (ServerTip("h:1", None, "gone", 11), None, FAIL, "gone."),
    ],
)
def test_a_lite_server(tip: ServerTip, newest: Block | None, state: CheckState, words: str) -> None:
    found = read(server_said(tip, newest))
    assert (found[0], words in found[1]) == (state, True), found


@pytest.mark.parametrize(
    ("mints", "due", "state", "words"),
    [
        (100, 0, OK, "enough for 100 mints"),
        (99, 0, WARN, "Send it more: a mint takes 0.02 Grams."),
        (100, 101, WARN, ", and 101 are due. Send it more"),
        (0, 0, FAIL, "Grams or more."),
    ],
)
def test_the_balance_is_enough_for_what_is_due_and_for_some_time(
    mints: int, due: int, state: CheckState, words: str
) -> None:
    prices = Prices(20_000_000, 5_000_000, 50_000_000, reserve_nano=10**9)
    funds = Funds(ELSEWHERE, Account(10**9, b"contract"), prices, mints, due)
    found = read(funds.said)
    assert (found[0], words in found[1]) == (state, True), found
    assert inspection.newest_of([]) is None

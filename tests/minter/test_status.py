"""What `laurel status` shows of chain and wallet."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from minter.startup import minting_wallet
from minter.status import SOURCES, collections_said, servers_said
from minter.ton.liteserver import ServerTip
from minter.ton.values import Block
from ops.checks import CheckState, Said
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from ops.status import Board, Row, Section
from sandbox.ton.network import TonNetwork, write_json
from tests.builders.lite_servers import FailingServer, lite_servers
from tests.builders.minters import minter_on
from tests.builders.world import World

AWAY = SecretStr("postgresql://laurel@127.0.0.1:9/laurel")


async def shown(settings: Settings) -> dict[str, Section]:
    board = Board(SOURCES, settings)
    async with board.following():
        await board.filled()
        return {each.title: each for each in board.sections()}


def row_of(section: Section, label: str) -> Row:
    return {row.label: row for row in section.rows}[label]


def state_of(said: Said) -> CheckState:
    return Row("any", said).state


async def test_the_chain_and_the_wallet_at_work(minted_one: None, settings: Settings) -> None:
    del minted_one
    found = await shown(settings)
    assert {title: each.state for title, each in found.items()} == {
        "chain": CheckState.OK,
        "wallet": CheckState.OK,
    }
    chain, wallet = found["chain"], found["wallet"]
    assert row_of(chain, "block").text.startswith("masterchain block ")
    assert row_of(chain, "lite servers").text == "1 of 1 answer"
    assert chain.facts["seqno"] in chain.facts["lite_servers"].values()  # type: ignore[attr-defined]
    assert [row.label for row in wallet.rows] == ["minting", "collections", "balance"]
    assert wallet.facts["address"] == minting_wallet(settings)[1].address
    assert 0 < wallet.facts["mints"] < 4_489  # type: ignore[operator]
    without_words = settings.model_copy(update={"wallet_mnemonic_file": None})
    assert (await shown(without_words))["wallet"].facts["mints"] == wallet.facts["mints"]


async def test_an_empty_wallet_fails(
    ton: TonNetwork, database_url: str, mnemonic_file: Path, minter_settings: MinterSettings
) -> None:
    found = await shown(minter_on(ton, database_url, mnemonic_file, minter_settings))
    balance = row_of(found["wallet"], "balance")
    assert balance.state is CheckState.FAIL
    assert "Send it 11 Grams or more." in balance.text


async def test_a_shut_minting_and_a_stopped_collection_are_told(
    minted_one: None, world: World, settings: Settings
) -> None:
    del minted_one
    await world.sql("UPDATE chain_wallet SET shut_reason = 'restored', shut_until = now()")
    await world.sql("UPDATE chain_collection SET stopped_reason = 'it mints nothing'")
    wallet = (await shown(settings))["wallet"]
    assert row_of(wallet, "minting").state is CheckState.FAIL
    assert "restored" in row_of(wallet, "minting").text
    assert row_of(wallet, "collections").state is CheckState.WARN
    assert (wallet.facts["shut"], wallet.facts["collections_stopped"]) == (True, ["explorer"])


async def test_a_lite_server_that_is_silent_is_named_and_the_rest_is_shown(
    ton: TonNetwork, settings: Settings, tmp_path: Path
) -> None:
    silent = FailingServer(ton)
    silent.silent_on = {""}
    async with lite_servers(ton, [silent, None]) as config:
        write_json(tmp_path / "servers.json", config)
        found = await shown(settings.model_copy(update={"ton_config": tmp_path / "servers.json"}))
    servers = row_of(found["chain"], "lite servers")
    assert servers.state is CheckState.WARN
    assert servers.text.startswith("1 of 2 answer; silent: 127.0.0.1:")
    assert row_of(found["chain"], "block").state is CheckState.OK
    assert row_of(found["wallet"], "balance").state is CheckState.OK


async def test_without_the_database_the_wallet_is_shown_by_its_words(settings: Settings) -> None:
    wallet = (await shown(settings.model_copy(update={"database_url": AWAY})))["wallet"]
    assert row_of(wallet, "minting").state is CheckState.WARN
    assert row_of(wallet, "balance").state is CheckState.OK
    nobody = {"database_url": None, "wallet_mnemonic_file": None}
    wallet = (await shown(settings.model_copy(update=nobody)))["wallet"]
    assert [(row.label, row.state) for row in wallet.rows] == [("balance", CheckState.WARN)]


async def test_where_the_words_are_wrong_the_chain_is_shown_all_the_same(
    settings: Settings, tmp_path: Path
) -> None:
    words = {"wallet_mnemonic_file": tmp_path / "no.words"}
    found = await shown(settings.model_copy(update=words))
    assert found["chain"].state is CheckState.OK
    balance = row_of(found["wallet"], "balance")
    assert balance.state is CheckState.FAIL
    assert str(tmp_path / "no.words") in balance.text
    assert row_of(found["wallet"], "minting").state is CheckState.OK


def a_tip(seqno: int | None) -> ServerTip:
    block = None if seqno is None else Block(seqno, datetime(2026, 11, 27, tzinfo=UTC), "", "")
    return ServerTip(f"h:{seqno}", block, "", 0.0)


@pytest.mark.parametrize(
    ("seqnos", "state", "words"),
    [
        ([100, 95], CheckState.OK, "2 of 2 answer"),
        ([100, 89, None], CheckState.WARN, "2 of 3 answer; silent: h:None; far behind: h:89"),
        ([None], CheckState.WARN, "0 of 1 answer; silent: h:None"),
    ],
)
def test_servers(seqnos: list[int | None], state: CheckState, words: str) -> None:
    tips = [a_tip(each) for each in seqnos]
    newest = tips[0].block
    row = Row("any", servers_said(tips, newest))
    assert (row.state, row.text) == (state, words)


def test_collections_that_stand_are_named() -> None:
    assert collections_said(2, []) == "2, none stopped"
    assert state_of(collections_said(2, ["explorer"])) is CheckState.WARN

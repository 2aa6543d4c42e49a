"""pytonlib's clients as the minter uses them.

Several, mortal, and never believed without a proof.
"""

import asyncio
import base64
import copy
import math
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from minter.ton.gateway import BlockUnknown, ChainUnreachable, HistoryForgotten
from minter.ton.global_config import place
from minter.ton.liteserver import LiteServers
from minter.ton.values import SendOutcome
from ops import metrics
from ops.errors import UsageError
from sandbox import ports
from sandbox.ton.adnl import Handler
from sandbox.ton.network import TonNetwork, TonOptions
from store.values.names import RawAddress
from tests.builders.lite_servers import ACCOUNT, FailingServer, lite_servers
from tests.builders.metrics import value
from tests.builders.patience import PATIENCE_S

# liteServer.partialBlockProof of lite_api.tl
_BLOCK_PROOF = (0x8ED0D2C1).to_bytes(4, "little")
NOBODY = RawAddress("0:" + "77" * 32)


@pytest.fixture
async def gateway(ton: TonNetwork) -> AsyncIterator[LiteServers]:
    async with LiteServers(ton.config, servers=1) as opened:
        yield opened


def with_dead_server_first(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with a lite server before its own that nobody listens at."""
    changed = copy.deepcopy(config)
    dead = copy.deepcopy(changed["liteservers"][0])
    with ports.reserved("127.0.0.1", None) as port:
        dead["port"] = port
    changed["liteservers"].insert(0, dead)
    return changed


async def test_a_block_can_be_found_again(gateway: LiteServers, ton: TonNetwork) -> None:
    newest = await gateway.newest_block()
    await ton.next_block()
    assert await gateway.block(newest.seqno) == newest


async def test_an_account_that_does_not_exist_has_nothing(gateway: LiteServers) -> None:
    account = await gateway.account(NOBODY, await gateway.newest_block())
    assert (account.balance_nano, account.data) == (0, None)


async def test_an_account_is_read_as_it_was_at_the_block(
    gateway: LiteServers, ton: TonNetwork
) -> None:
    before = await gateway.newest_block()
    await ton.fund(NOBODY, 5_000)
    after = await gateway.newest_block()
    balances = [(await gateway.account(NOBODY, block)).balance_nano for block in (before, after)]
    assert balances == [0, 5_000]


async def test_a_block_that_is_not_there_yet_is_unknown(gateway: LiteServers) -> None:
    newest = await gateway.newest_block()
    with pytest.raises(BlockUnknown):
        await gateway.block(newest.seqno + 10_000)


async def test_a_client_that_died_is_made_anew(gateway: LiteServers) -> None:
    await gateway.newest_block()
    (server,) = gateway._servers
    dead = server._client
    assert dead is not None
    dead.tonlib_wrapper._state = "crashed"  # as pytonlib leaves it when its reader failed
    assert (await gateway.newest_block()).seqno > 0
    assert server._client is not dead


async def test_another_lite_server_answers_for_a_dead_one(ton: TonNetwork) -> None:
    retries = metrics.RETRIES.labels("liteserver_newest_block", ChainUnreachable.code)
    before = retries._value.get()
    async with LiteServers(with_dead_server_first(ton.config), servers=2) as gateway:
        assert (await gateway.newest_block()).seqno > 0
        assert retries._value.get() == before + 1
        # A send goes to both, and the one that lives takes it or says why not.
        result = await gateway.send(b"no bag of cells")
        assert result.outcome is not SendOutcome.ACCEPTED


async def test_a_history_that_is_forgotten_is_told_beside_a_dead_server(ton: TonNetwork) -> None:
    """However the dead one fails, and when: a minter would wait for it for ever."""
    await ton.fund(NOBODY, 5_000)
    async with LiteServers(with_dead_server_first(ton.config), servers=2) as gateway:
        account = await gateway.account(NOBODY, await gateway.newest_block())
        (known,) = await gateway.transactions(NOBODY, account, 0)
        assert known.lt == account.last_lt
        with pytest.raises(HistoryForgotten):
            await gateway.transactions(NOBODY, replace(account, last_lt=known.lt + 1), 0)


async def test_the_newest_block_is_the_newest_that_any_server_proves(ton: TonNetwork) -> None:
    stalling = FailingServer(ton)
    async with (
        lite_servers(ton, [stalling, stalling, stalling, None]) as config,
        LiteServers(config, servers=2) as gateway,
    ):
        await gateway.newest_block()
        stalling.stall()
        for _ in range(3):
            await ton.next_block()
        # The last in the list is not among those asked at each turn, and is looked at all the same.
        stalled_at = stalling.newest
        newest = await gateway.newest_block()
        async with asyncio.timeout(PATIENCE_S):
            while newest.seqno <= stalled_at:
                await ton.next_block()
                newest = await gateway.newest_block()
        await gateway.account(NOBODY, newest)
    assert stalling.asked[ACCOUNT] == 0


async def test_each_server_shows_whether_it_answers_and_how_far_it_is_behind(
    ton: TonNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each is looked at in each turn.
    monkeypatch.setattr("minter.ton.liteserver._LOOK_EVERY_S", 0.0)
    lagging, silent = FailingServer(ton), FailingServer(ton)
    up, behind = "laurel_lite_server_up", "laurel_lite_server_blocks_behind"
    async with (
        lite_servers(ton, [lagging, silent, None]) as config,
        LiteServers(config, servers=1) as gateway,
    ):
        places = [place(server) for server in config["liteservers"]]
        assert [value(up, each) for each in places] == [0, 0, 0]
        assert all(math.isnan(value(behind, each)) for each in places)

        async def until(states: list[int], lag: tuple[int, int]) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await gateway.newest_block()
                    blocks = [value(behind, each) for each in places]
                    found = [value(up, each) for each in places]
                    if found == states and blocks[0] >= lag[0] and blocks[1] >= lag[1]:
                        return
                    await ton.next_block()

        await until([1, 1, 1], (0, 0))
        lagging.stall()
        silent.silent_on = {""}
        # Answers are waited for for ten seconds, so the silent one falls behind meanwhile.
        await until([1, 0, 1], (3, 3))
        silent.silent_on = set()
        await until([1, 1, 1], (3, 0))
        assert value(behind, places[1]) < value(behind, places[0])


async def test_a_server_that_keeps_accounts_to_itself_is_asked_for_them_no_more(
    ton: TonNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    # longer than the other one takes on any machine
    monkeypatch.setattr("minter.ton.liteserver._PATIENCE_MIN_S", 5.0)
    monkeypatch.setattr("minter.ton.liteserver._PATIENCE_MAX_S", 5.0)
    silent = FailingServer(ton)
    async with lite_servers(ton, [silent, None]) as config, LiteServers(config) as gateway:
        block = await gateway.newest_block()
        silent.silent_on = {ACCOUNT}
        # both are tried once, and then the one that answers
        for _ in range(10):
            await gateway.account(NOBODY, block)
            block = await gateway.newest_block()
    assert silent.asked[ACCOUNT] <= 1
    assert silent.asked["getBlockProof"] > 1


async def test_a_server_that_lies_about_an_account_is_not_believed(ton: TonNetwork) -> None:
    liar = FailingServer(ton)
    liar.lies = True
    await ton.fund(NOBODY, 5_000)
    async with lite_servers(ton, [liar]) as config, LiteServers(config) as gateway:
        with pytest.raises(ChainUnreachable, match="does not answer"):
            await gateway.account(NOBODY, await gateway.newest_block())
    async with lite_servers(ton, [liar, None]) as config, LiteServers(config) as gateway:
        account = await gateway.account(NOBODY, await gateway.newest_block())
    assert account.balance_nano == 5_000


async def test_an_answer_that_is_late_is_waited_for_at_another_server_too(ton: TonNetwork) -> None:
    late = FailingServer(ton)
    async with lite_servers(ton, [late, None]) as config, LiteServers(config) as gateway:
        block = await gateway.newest_block()
        slow = gateway._servers[0]
        slow.score.late("newest_block", 0.0)
        gateway._servers[1].score.late("account", 1.0)  # as if the other one were the slower
        late.silent_on = {ACCOUNT}
        hedged = metrics.RETRIES.labels("liteserver_account", "late")
        before = hedged._value.get()
        assert (await gateway.account(NOBODY, block)).data is None
        assert (late.asked[ACCOUNT], hedged._value.get()) == (1, before + 1)


async def test_what_was_proven_is_kept_for_the_next_start(ton: TonNetwork, tmp_path: Path) -> None:
    # libtonlibjson goes on from the last key block that it kept; the local network has but one.
    for _ in range(2):
        async with LiteServers(ton.config, state_dir=tmp_path / "proven") as gateway:
            newest = await gateway.newest_block()
        (kept,) = (tmp_path / "proven").rglob("*.blkstate")
        assert base64.b64decode(newest.root_hash) in kept.read_bytes()


async def test_a_place_that_cannot_be_written_is_named(ton: TonNetwork, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"LAUREL_TON_STATE_DIR: .*Name a directory"):
        async with LiteServers(ton.config, state_dir=tmp_path / "file" / "proven"):
            pass


async def test_a_place_in_which_no_file_can_be_made_is_named_too(
    ton: TonNetwork, tmp_path: Path
) -> None:
    """The directory is there, and its path nearly as long as one may be, 4 095 bytes."""
    key = ton.config["liteservers"][0]["id"]["key"]
    inner = base64.urlsafe_b64encode(key.encode()).decode()
    proven = tmp_path
    while (left := 4090 - len(f"{proven}/{inner}")) > 0:
        proven /= "d" * (left - 1 if left < 150 else 100)
    (proven / inner).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"LAUREL_TON_STATE_DIR: .*File name too long"):
        async with LiteServers(ton.config, state_dir=proven):
            pass


async def test_a_place_that_is_lost_is_no_end(ton: TonNetwork, tmp_path: Path) -> None:
    """A minter that works beside it goes on, and says what is missing where it cannot."""
    async with LiteServers(ton.config, state_dir=tmp_path / "proven") as gateway:
        await gateway.newest_block()
        await gateway._servers[0].close()
        shutil.rmtree(tmp_path / "proven")
        with pytest.raises(ChainUnreachable, match="tonlib cannot start"):
            await gateway.newest_block()


async def test_a_network_with_another_zero_state_proves_nothing(ton: TonNetwork) -> None:
    config = copy.deepcopy(ton.config)
    config["validator"]["zero_state"]["root_hash"] = base64.b64encode(bytes(range(32))).decode()
    async with LiteServers(config, servers=1) as gateway:
        with pytest.raises(ChainUnreachable, match="does not answer"):
            await gateway.newest_block()


async def test_a_block_that_no_validator_signed_is_not_believed(
    tmp_path: Path, virtual_machine: Path
) -> None:
    lies = False

    def forging(handler: Handler) -> Handler:
        async def answer(query: bytes) -> bytes | None:
            honest = await handler(query)
            if not lies or honest is None or not honest.startswith(_BLOCK_PROOF):
                return honest
            # The last field is the validator's signature, then three bytes of padding.
            return honest[:-10] + bytes([honest[-10] ^ 1]) + honest[-9:]

        return answer

    options = TonOptions(block_interval=timedelta(milliseconds=100), directory=tmp_path)
    async with (
        TonNetwork.start(options, around=forging) as network,
        LiteServers(network.config, servers=1) as gateway,
    ):
        assert (await gateway.newest_block()).seqno > 0
        lies = True
        await network.next_block()
        with pytest.raises(ChainUnreachable, match="VALIDATE_BLOCK_PROOF"):
            await gateway.newest_block()

import asyncio
import json
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from ops.errors import InvariantBroken, UsageError
from sandbox.ports import reserved
from sandbox.ton.boc import from_boc
from sandbox.ton.cells import Address
from sandbox.ton.network import FaucetFailed, TonNetwork, TonOptions
from tests.sandbox.ton.chains import OWNER
from tests.sandbox.ton.contracts import GRAM

pytestmark = pytest.mark.usefixtures("virtual_machine")

ON_DEMAND = TonOptions(block_interval=None)


async def test_a_network_writes_its_global_config(ton: TonNetwork, tmp_path: Path) -> None:
    assert ton.config_path == tmp_path / "ton" / "global.config.json"
    written = json.loads(ton.config_path.read_text())
    assert written == ton.config
    assert written["liteservers"][0]["ip"] == 0x7F000001
    assert written["liteservers"][0]["port"] < 32_768
    assert written["validator"]["init_block"]["seqno"] == 1


async def test_the_advertised_address_is_the_one_in_the_config(tmp_path: Path) -> None:
    options = TonOptions(block_interval=None, advertised_host="203.0.113.7", directory=tmp_path)
    async with TonNetwork.start(options) as network:
        ip = network.config["liteservers"][0]["ip"]
    assert (ip & 0xFFFFFFFF).to_bytes(4, "big") == bytes([203, 0, 113, 7])


async def test_an_advertised_name_without_an_address_is_refused() -> None:
    with pytest.raises(UsageError, match="advertised host"):
        async with TonNetwork.start(TonOptions(advertised_host="not..a.name")):
            pass


async def test_a_taken_port_is_refused() -> None:
    with (
        reserved() as port,
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(UsageError, match=str(port)),
    ):
        async with TonNetwork.start(TonOptions(port=port)):
            pass


async def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="block_interval"):
        TonOptions(block_interval=timedelta(0))


async def test_blocks_come_by_themselves(ton: TonNetwork) -> None:
    first = await ton.next_block()
    second = await ton.next_block()
    assert second.id.seqno > first.id.seqno


async def test_without_an_interval_blocks_come_on_demand_only() -> None:
    ticking = TonOptions(block_interval=timedelta(milliseconds=1))
    async with TonNetwork.start(ON_DEMAND) as network, TonNetwork.start(ticking) as beside:
        before = network.chain.last.id.seqno
        for _ in range(3):
            await beside.next_block()
        assert network.chain.last.id.seqno == before
        assert (await network.produce()).id.seqno == before + 1


async def test_time_is_advanced_for_the_next_block() -> None:
    async with TonNetwork.start(ON_DEMAND) as network:
        before = network.chain.last.utime
        network.advance(timedelta(days=1))
        assert network.chain.last.utime == before
        assert (await network.produce()).utime >= before + 86_400


async def test_the_faucet_pays_exactly_what_was_asked() -> None:
    async with TonNetwork.start(ON_DEMAND) as network:
        await network.fund(OWNER, 5 * GRAM)
        await network.fund(str(OWNER), GRAM)
        account = network.chain.account(OWNER)
    assert account is not None
    assert account.balance_nano == 6 * GRAM


async def test_the_faucet_says_when_it_has_less() -> None:
    async with TonNetwork.start(ON_DEMAND) as network:
        with pytest.raises(FaucetFailed, match="less than"):
            await network.fund(OWNER, 10**18)


async def test_a_payment_that_expires_before_its_block_is_told_as_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with TonNetwork.start(ON_DEMAND) as network:
        submit = network.chain.submit

        def and_then_a_day_passes(boc: bytes) -> None:
            submit(boc)
            network.advance(timedelta(days=1))

        monkeypatch.setattr(network.chain, "submit", and_then_a_day_passes)
        with pytest.raises(FaucetFailed, match="dropped"):
            await network.fund(OWNER, GRAM)


@pytest.mark.parametrize(
    ("address", "amount"),
    [("nonsense", GRAM), (Address(-1, bytes(32)), GRAM), (OWNER, 0), (OWNER, -1)],
)
async def test_an_impossible_payment_is_refused(address: Address | str, amount: int) -> None:
    async with TonNetwork.start(ON_DEMAND) as network:
        with pytest.raises(UsageError):
            await network.fund(address, amount)


async def test_a_cancelled_caller_takes_no_messages_with_it() -> None:
    async with TonNetwork.start(ON_DEMAND) as network:
        paying = asyncio.create_task(network.fund(OWNER, GRAM))
        await asyncio.sleep(0)  # submitted, and its block begun
        paying.cancel()
        await asyncio.gather(paying, return_exceptions=True)
        while network.chain.waiting:
            await network.produce()
        await network.produce()
        account = network.chain.account(OWNER)
    assert account is not None
    assert account.balance_nano == GRAM


async def test_blocks_made_at_once_follow_one_another() -> None:
    async with TonNetwork.start(ON_DEMAND) as network:
        blocks = await asyncio.gather(*(network.produce() for _ in range(5)))
    assert [block.id.seqno for block in blocks] == [2, 3, 4, 5, 6]


async def test_closing_finishes_the_blocks_under_way() -> None:
    async with TonNetwork.start(ON_DEMAND) as network:
        callers = [asyncio.create_task(network.produce()) for _ in range(3)]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    assert network.chain.last.id.seqno == 4


async def test_a_failing_machine_ends_the_network(
    ton_options: TonOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_work: object) -> None:
        raise InvariantBroken("the machine is broken")

    async def run() -> None:
        async with TonNetwork.start(ton_options) as network:
            monkeypatch.setattr(network.chain, "execute", fail)
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(InvariantBroken, match="the machine is broken")


async def test_who_waits_for_a_block_learns_that_none_will_come(
    ton_options: TonOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_work: object) -> None:
        raise InvariantBroken("the machine is broken")

    async def run() -> None:
        async with TonNetwork.start(ton_options) as network:
            monkeypatch.setattr(network.chain, "execute", fail)
            with pytest.raises(InvariantBroken):
                await asyncio.create_task(network.next_block())

    with pytest.raises(ExceptionGroup):
        await run()


async def test_a_stored_transaction_is_found_by_its_message() -> None:
    async with TonNetwork.start(ON_DEMAND) as network:
        await network.fund(OWNER, GRAM)
        places = network.chain.transaction_of_message
        assert {
            from_boc(network.chain.transactions[place].boc).hash for place in places.values()
        } == {stored.hash for stored in network.chain.transactions.values()}

from datetime import timedelta

import pytest

from ops.errors import UsageError
from sandbox.ton.accounts import faucet
from sandbox.ton.boc import to_boc
from sandbox.ton.cells import EMPTY_CELL, Address, Builder
from sandbox.ton.chain import Chain, ChainClock, ChainOptions, Rejected
from sandbox.ton.messages import external_message
from sandbox.ton.states import MASTERCHAIN
from tests.sandbox.ton.chains import NOW, OWNER, Minter, a_chain

pytestmark = pytest.mark.usefixtures("virtual_machine")


def test_the_same_seed_and_clock_give_the_same_blocks() -> None:
    first, second = a_chain(), a_chain()
    for chain in (first, second):
        Minter(chain).mint(0, 5)
        chain.produce()
    assert first.last.id == second.last.id
    assert first.last_shard.id == second.last_shard.id


def test_another_seed_is_another_network() -> None:
    clock = ChainClock(lambda: NOW)
    assert Chain(ChainOptions(seed="other"), clock).zero.id != Chain(ChainOptions(), clock).zero.id


def a_message(depth: int = 0, padding: int = 0) -> bytes:
    cell = EMPTY_CELL
    for number in range(padding):
        cell = Builder().uint(number, 1016).ref(cell).end()
    for _ in range(depth - cell.depth - 1):
        cell = Builder().ref(cell).end()
    return to_boc(external_message(faucet().address, cell))


def test_an_external_message_of_more_than_65535_bytes_is_refused() -> None:
    chain = a_chain()
    with pytest.raises(Rejected, match="too large"):
        chain.submit(a_message(padding=511) + bytes(65_535))


def test_an_external_message_of_512_levels_is_refused() -> None:
    chain = a_chain()
    with pytest.raises(Rejected, match="too deep"):
        chain.submit(a_message(depth=512))
    with pytest.raises(Rejected, match="exit code"):  # refused by the contract, not by its depth
        chain.submit(a_message(depth=511))


@pytest.mark.parametrize(
    ("boc", "complaint"),
    [
        (b"", "cannot deserialize"),
        (b"no bag of cells", "cannot deserialize"),
        (to_boc(EMPTY_CELL), "cannot deserialize"),
        (to_boc(EMPTY_CELL, Builder().uint(1, 1).end()), "cannot deserialize"),
        (to_boc(external_message(Address(MASTERCHAIN, b"\x01" * 32), EMPTY_CELL)), "workchain 0"),
        (to_boc(external_message(OWNER, EMPTY_CELL)), "cannot apply external message"),
    ],
)
def test_what_is_no_message_for_anybody_here_is_refused(boc: bytes, complaint: str) -> None:
    with pytest.raises(Rejected, match=complaint):
        a_chain().submit(boc)


def test_states_outside_the_window_are_let_go_but_blocks_stay() -> None:
    chain = a_chain(state_window=3)
    for _ in range(10):
        chain.produce()
    kept = [block.id.seqno for block in chain.masterchain if block.state is not None]
    assert kept == [0, 1, 9, 10, 11]
    assert all(block.boc for block in chain.masterchain)


def test_block_time_rises_with_the_clock_and_never_falls() -> None:
    host = [float(NOW)]
    clock = ChainClock(lambda: host[0])
    chain = Chain(ChainOptions(), clock)
    clock.advance(timedelta(days=366))
    ahead = chain.produce().utime
    host[0] -= 1_000
    assert ahead == NOW + 366 * 86_400
    assert chain.produce().utime == ahead


def test_the_clock_goes_forward_only() -> None:
    with pytest.raises(UsageError, match="forward only"):
        ChainClock().advance(timedelta(seconds=-1))


def test_the_clock_stays_within_a_blocks_time() -> None:
    with pytest.raises(UsageError, match="2106"):
        ChainClock().advance(timedelta(days=40_000))


@pytest.mark.parametrize("option", ["transactions_per_block_max", "state_window"])
def test_an_impossible_option_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        ChainOptions(**{option: 0})  # type: ignore[arg-type]

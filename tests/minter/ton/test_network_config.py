"""Reading the network's prices out of its configuration's cells."""

import pytest
from ton_core.boc.builder import Builder

from minter.ton.fees import NetworkPrices
from minter.ton.network_config import network_prices
from sandbox.ton.boc import to_boc
from sandbox.ton.config import TODAY, network_config

OURS = network_config(b"\x01" * 32, 1_790_000_000, (b"\x02" * 32, b"\x03" * 32), TODAY).params
GAS, MESSAGES = to_boc(OURS[21]), to_boc(OURS[25])


def test_prices_are_read_as_the_network_writes_them() -> None:
    assert network_prices(GAS, MESSAGES) == NetworkPrices(
        gas=4_369_067,
        gas_flat_units=100,
        gas_flat=6_667,
        message_lump=66_667,
        message_bit=4_369_067,
        message_cell=436_906_667,
    )


@pytest.mark.parametrize("tag", [0xDD, 0xDE])
def test_gas_without_a_flat_price_is_read(tag: int) -> None:
    plain = Builder().store_uint(tag, 8).store_uint(1_000, 64).store_uint(0, 256).end_cell()
    prices = network_prices(plain.to_boc(), MESSAGES)
    assert (prices.gas, prices.gas_flat_units, prices.gas_flat) == (1_000, 0, 0)


@pytest.mark.parametrize(
    ("gas", "messages"),
    [
        pytest.param(MESSAGES, MESSAGES, id="another parameter for gas"),
        pytest.param(GAS, GAS, id="another parameter for messages"),
        pytest.param(Builder().store_uint(0xD1, 8).end_cell().to_boc(), MESSAGES, id="cut short"),
        pytest.param(b"", MESSAGES, id="nothing"),
    ],
)
def test_another_layout_is_refused_and_not_guessed(gas: bytes, messages: bytes) -> None:
    with pytest.raises(ValueError, match="no prices of a network"):
        network_prices(gas, messages)

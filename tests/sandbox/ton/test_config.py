"""The local network's prices and limits beside the main network's own configuration.

That configuration (masterchain block 84 773 657, August 2026, a bag of cells in base64) is not in
the repository: it is looked for in `shared/data` beside it, or where MAIN_NETWORK_CONFIG says.
"""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ton_core.boc.cell import Cell
from ton_core.boc.slice import Slice

from sandbox.ton.boc import to_boc
from sandbox.ton.config import TODAY, Config, network_config

REPOSITORY = Path(__file__).parents[3]
BESIDE = REPOSITORY.parent / "shared" / "data" / "mainnet-config.boc.base64"


@pytest.fixture(scope="module")
def main_network() -> Slice:
    path = Path(os.environ.get("MAIN_NETWORK_CONFIG", BESIDE))
    if not path.is_file():
        pytest.skip(
            f"the main network's configuration is not at {path}; MAIN_NETWORK_CONFIG names another"
        )
    return Cell.one_from_boc(base64.b64decode(path.read_text(encoding="ascii"))).begin_parse()


@pytest.fixture(scope="module")
def ours() -> Config:
    return network_config(b"\x01" * 32, 1_790_000_000, (b"\x02" * 32, b"\x03" * 32), TODAY)


def parameter(root: Slice, number: int) -> Cell:
    found: Cell = _entries(root, Slice.load_ref)[number]
    return found


def _entries(part: Slice, reader: Callable[[Slice], Any]) -> dict[int, Any]:
    return dict(part.copy().load_hashmap(32, value_deserializer=reader) or {})


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(8, id="version"),
        pytest.param(15, id="elections"),
        pytest.param(20, id="gas-of-the-masterchain"),
        pytest.param(21, id="gas-of-the-basechain"),
        pytest.param(22, id="blocks-of-the-masterchain"),
        pytest.param(23, id="blocks-of-the-basechain"),
        pytest.param(24, id="messages-of-the-masterchain"),
        pytest.param(25, id="messages-of-the-basechain"),
    ],
)
def test_a_parameter_is_the_main_networks_bit_by_bit(
    number: int, main_network: Slice, ours: Config
) -> None:
    assert ours.params[number].hash == parameter(main_network, number).hash


def test_storage_costs_what_the_main_networks_newest_prices_say(
    main_network: Slice, ours: Config
) -> None:
    def newest(cell: Cell) -> list[int]:
        entries = _entries(cell.begin_parse(), lambda entry: entry)
        entry = entries[max(entries)]
        entry.skip_bits(8 + 32)  # the constructor, and since when
        return [entry.load_uint(64) for _ in range(4)]

    local = Cell.one_from_boc(to_boc(ours.params[18]))
    assert newest(local) == newest(parameter(main_network, 18))


def test_messages_may_be_as_large_as_on_the_main_network(main_network: Slice, ours: Config) -> None:
    def limits(cell: Cell) -> list[int]:
        part = cell.begin_parse()
        part.skip_bits(8)  # the constructor: ours is the older one
        return [part.load_uint(bits) for bits in (32, 32, 32, 16, 32, 16)]

    local = Cell.one_from_boc(to_boc(ours.params[43]))
    assert limits(local) == limits(parameter(main_network, 43))

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


# Of the parameters that are the main network's bit by bit: their cells' hashes, read from that
# configuration with pytoniq-core on 2026-11-27. They hold where the file is not.
SAME = {
    8: "4f7e74a6f95b82e8c24ff892f83ad59154d555eb61d750598ce60d754367926f",  # version
    15: "5aeedd028d51d55d5a5df23c1ed69b08367e6b3fe5d78e074a5a46571b2b1e17",  # elections
    20: "3806f08bd71c647291217e9d043a018e8a9826e1943975bc1e9c97b1c2333267",  # gas of the masterchain
    21: "aaec03367c3035ee7af9fbb39460de98098b29c1006239ea2f8b27757fafc173",  # gas of the basechain
    22: "f8ad88d4d9d7b4dec59cc508ccc8f961da68325e2544068193388ba8dbc51586",  # blocks of the masterchain
    23: "3fd7dd5f1b3f17a44fa38fd629c62f5e37e73eb16c1ea90b2211beb2368e390d",  # blocks of the basechain
    24: "06fd19e4557ae5c0805f58bb62ffed63182f00411b0d8cad25e0546744d0393f",  # messages of the masterchain
    25: "260f1bacb2955389bda680175cb5d0c9dfdebe6f3b611812416140fbdd5a8b61",  # messages of the basechain
}


@pytest.mark.parametrize(("number", "cell_hash"), SAME.items())
def test_a_parameter_is_the_main_networks_bit_by_bit(
    number: int, cell_hash: str, ours: Config
) -> None:
    assert ours.params[number].hash.hex() == cell_hash


@pytest.mark.parametrize(("number", "cell_hash"), SAME.items())
def test_what_is_held_to_is_what_the_main_network_has(
    number: int, cell_hash: str, main_network: Slice
) -> None:
    assert parameter(main_network, number).hash.hex() == cell_hash


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

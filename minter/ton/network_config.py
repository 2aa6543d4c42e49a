"""The parameters of a network's configuration that the minter reads, out of their cells."""

from ton_core.boc.cell import Cell, CellError
from ton_core.boc.deserialize import BocError
from ton_core.boc.slice import Slice, SliceError
from ton_core.boc.tvm_bitarray import TvmBitarrayException

from minter.ton.fees import NetworkPrices

# ConfigParam 21 and 25: gas and messages of the basechain.
GAS_PRICES, MESSAGE_PRICES = 21, 25

_FLAT, _GAS, _MESSAGE = 0xD1, (0xDD, 0xDE), 0xEA


def network_prices(gas: bytes, messages: bytes) -> NetworkPrices:
    """Return what parameters 21 and 25 say, each a bag of cells.

    Raises:
        ValueError: they are not those parameters, in any layout that is known.
    """
    try:
        flat_units, flat_nano, gas_price = _gas(Cell.one_from_boc(gas).begin_parse())
        part = Cell.one_from_boc(messages).begin_parse()
        if part.load_uint(8) != _MESSAGE:
            raise ValueError("parameter 25 has another layout")
        lump, bit, cell = (part.load_uint(64) for _ in range(3))
    except (BocError, TvmBitarrayException, SliceError, CellError, IndexError, ValueError) as error:
        raise ValueError(f"no prices of a network: {error}") from error
    return NetworkPrices(gas_price, flat_units, flat_nano, lump, bit, cell)


def _gas(part: Slice) -> tuple[int, int, int]:
    """Return the units at the flat price, that price, and the price of a unit (times 2^16)."""
    flat_units, flat_nano, tag = 0, 0, part.load_uint(8)
    if tag == _FLAT:
        flat_units, flat_nano, tag = (part.load_uint(bits) for bits in (64, 64, 8))
    if tag not in _GAS:
        raise ValueError("parameter 21 has another layout")
    return flat_units, flat_nano, part.load_uint(64)

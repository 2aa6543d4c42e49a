"""The network's configuration (TL-B `ConfigParams`): one validator, one workchain.

Prices and limits are the main network's at its masterchain block 84 773 657 (August 2026), so that
fees measured here hold there: gas and messages (params 20, 21, 24, 25; the basechain's fell sixfold
in April 2026), storage (18), blocks (22, 23), messages' and accounts' sizes (43).
"""

from dataclasses import dataclass

from sandbox.ton.cells import Builder, Cell
from sandbox.ton.dictionaries import NO_EXTRA, Dictionary

CONFIG_ADDRESS = b"\x55" * 32
_ELECTOR_ADDRESS = b"\x33" * 32
# As on the main network in August 2026.
_CAPABILITIES = 0x3EE
GLOBAL_VERSION = 15
VALIDATOR_WEIGHT = 1
VALIDATOR_SET, CATCHAIN = 34, 28
# What a client must see of the configuration to check a signature: the catchain settings and the
# validator sets.
SIGNATURE_PARAMS = (CATCHAIN, VALIDATOR_SET, 35)
VERSION_PARAM = 8


@dataclass(frozen=True, slots=True)
class Config:
    """The parameters by number, the dictionary that the masterchain's state holds, its root."""

    params: dict[int, Cell]
    dictionary: Dictionary[None]
    root: Cell

    def path_to(self, numbers: tuple[int, ...]) -> tuple[set[bytes], set[bytes]]:
        """Return the cells on the way to the parameters `numbers`, and the parameters themselves.

        The latter are to be shown whole.
        """
        keep: set[bytes] = set()
        for number in numbers:
            keep |= self.dictionary.path(number & 0xFFFFFFFF)
        return keep, {self.params[number].hash for number in numbers if number in self.params}


@dataclass(frozen=True, slots=True)
class BasechainPrices:
    """What the basechain takes, in nanograms times 2^16 (the flat prices: nanograms)."""

    gas: int
    # of the first 100 units of gas, used or not
    gas_flat: int
    message_lump: int
    message_bit: int
    message_cell: int
    # of a second
    storage_bit: int
    storage_cell: int


# The main network's: gas and messages in August 2026, storage since 2026-04-29 22:00 UTC.
TODAY = BasechainPrices(
    gas=4_369_067,
    gas_flat=6_667,
    message_lump=66_667,
    message_bit=4_369_067,
    message_cell=436_906_667,
    storage_bit=0,
    storage_cell=135,
)


def network_config(
    validator_key: bytes, utime: int, zero_state: tuple[bytes, bytes], prices: BasechainPrices
) -> Config:
    """Return the configuration of a network with one validator.

    Args:
        validator_key: its Ed25519 public key.
        utime: when the network begins, in Unix seconds.
        zero_state: root hash and file hash of the basechain's.
        prices: the basechain's.
    """
    params = {
        0: Builder().raw(CONFIG_ADDRESS).end(),
        1: Builder().raw(_ELECTOR_ADDRESS).end(),
        VERSION_PARAM: Builder()
        .uint(0xC4, 8)
        .uint(GLOBAL_VERSION, 32)
        .uint(_CAPABILITIES, 64)
        .end(),
        12: _workchains(utime, *zero_state),
        14: Builder()
        .uint(0x6B, 8)
        .coins(0)
        .coins(0)
        .end(),  # no reward for a block: supply stays what the genesis gave
        15: Builder().uint(65_536, 32).uint(32_768, 32).uint(8_192, 32).uint(32_768, 32).end(),
        16: Builder().uint(100, 16).uint(100, 16).uint(1, 16).end(),
        17: Builder().coins(10**13).coins(10**16).coins(10**13).uint(196_608, 32).end(),
        18: _storage_prices(prices),
        20: _gas_prices(1_000_000, 655_360_000, special_limit=70_000_000, block_limit=2_500_000),
        21: _gas_prices(
            prices.gas_flat, prices.gas, special_limit=1_000_000, block_limit=10_000_000
        ),
        22: _block_limits((131_072, 524_288, 1_048_576), (200_000, 1_000_000, 2_500_000)),
        23: _block_limits((262_144, 1_048_576, 2_097_152), (2_000_000, 10_000_000, 20_000_000)),
        24: _message_prices(10_000_000, 655_360_000, 65_536_000_000),
        25: _message_prices(prices.message_lump, prices.message_bit, prices.message_cell),
        CATCHAIN: Builder()
        .uint(0xC2, 8)
        .uint(0, 8)
        .uint(250, 32)
        .uint(250, 32)
        .uint(1_000, 32)
        .uint(7, 32)
        .end(),
        31: Builder().maybe_ref(None).end(),
        VALIDATOR_SET: _validator_set(validator_key, utime),
        43: _size_limits(),
    }
    dictionary = Dictionary(32, NO_EXTRA)
    for number, cell in params.items():
        dictionary = dictionary.put(number, Builder().ref(cell), None)
    return Config(params, dictionary, dictionary.root_builder().end())


def _workchains(utime: int, root_hash: bytes, file_hash: bytes) -> Cell:
    basechain = (
        Builder()
        .uint(0xA6, 8)
        .uint(utime, 32)
        .uint(0, 24)  # split depths: the whole workchain is one shard
        .uint(0b111, 3)  # basic, active, accepts messages
        .uint(0, 13)
        .raw(root_hash)
        .raw(file_hash)
        .uint(0, 32)
        .uint(1, 4)
        .signed(-1, 32)
        .uint(0, 64)
    )
    return Builder().maybe_ref(Dictionary(32, NO_EXTRA).put(0, basechain, None).cell()).end()


def _storage_prices(prices: BasechainPrices) -> Cell:
    entry = (
        Builder()
        .uint(0xCC, 8)
        .uint(0, 32)
        .uint(prices.storage_bit, 64)
        .uint(prices.storage_cell, 64)
        .uint(1_000, 64)
        .uint(500_000, 64)
    )
    return Dictionary(32, NO_EXTRA).put(0, entry, None).root_builder().end()


def _gas_prices(flat_price: int, price: int, *, special_limit: int, block_limit: int) -> Cell:
    return (
        Builder()
        .uint(0xD1, 8)
        .uint(100, 64)
        .uint(flat_price, 64)
        .uint(0xDE, 8)
        .uint(price, 64)
        .uint(1_000_000, 64)
        .uint(special_limit, 64)
        .uint(10_000, 64)
        .uint(block_limit, 64)
        .uint(100_000_000, 64)
        .uint(1_000_000_000, 64)
        .end()
    )


def _message_prices(lump: int, bit_price: int, cell_price: int) -> Cell:
    return (
        Builder()
        .uint(0xEA, 8)
        .uint(lump, 64)
        .uint(bit_price, 64)
        .uint(cell_price, 64)
        .uint(98_304, 32)
        .uint(21_845, 16)
        .uint(21_845, 16)
        .end()
    )


def _block_limits(size: tuple[int, int, int], gas: tuple[int, int, int]) -> Cell:
    builder = Builder().uint(0x5D, 8)
    for limits in (size, gas, (1_000, 5_000, 10_000)):
        builder.uint(0xC3, 8)
        for limit in limits:
            builder.uint(limit, 32)
    return builder.end()


def _validator_set(key: bytes, utime: int) -> Cell:
    # validator_addr#73: tonutils-go does not know the plain validator#53.
    validator = (
        Builder()
        .uint(0x73, 8)
        .uint(0x8E81278A, 32)
        .raw(key)
        .uint(VALIDATOR_WEIGHT, 64)
        .raw(bytes(32))
    )
    return (
        Builder()
        .uint(0x12, 8)
        .uint(utime, 32)
        .uint(0xFFFFFFFF, 32)
        .uint(1, 16)
        .uint(1, 16)
        .uint(VALIDATOR_WEIGHT, 64)
        .maybe_ref(Dictionary(16, NO_EXTRA).put(0, validator, None).cell())
        .end()
    )


def _size_limits() -> Cell:
    # size_limits_config#01: the libemulator in pytvm 0.0.14 knows an older layout of the main
    # network's #02. The figures are the main network's as far as #01 has them.
    return (
        Builder()
        .uint(1, 8)
        .uint(2_097_152, 32)
        .uint(8_192, 32)
        .uint(200, 32)
        .uint(512, 16)
        .uint(65_535, 32)
        .uint(512, 16)
        .end()
    )

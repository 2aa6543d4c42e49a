"""The network's configuration (TL-B `ConfigParams`).

Gas and message prices of the main network, one validator, one workchain.

Gas, message and storage prices are those of the main network in 2026 (params 18, 20, 21, 24, 25),
so that fees measured here hold there.
"""

from dataclasses import dataclass

from sandbox.ton.cells import Builder, Cell
from sandbox.ton.dictionaries import NO_EXTRA, Dictionary

CONFIG_ADDRESS = b"\x55" * 32
_ELECTOR_ADDRESS = b"\x33" * 32
_CAPABILITIES = 0x1EE  # as on the main network
GLOBAL_VERSION = 11
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


def network_config(
    validator_key: bytes, utime: int, shard_zero_root: bytes, shard_zero_file: bytes
) -> Config:
    """Return the configuration of a network with one validator.

    Args:
        validator_key: its Ed25519 public key.
        utime: when the network begins, in Unix seconds.
        shard_zero_root: root hash of the basechain's zero state.
        shard_zero_file: its file hash.
    """
    params = {
        0: Builder().raw(CONFIG_ADDRESS).end(),
        1: Builder().raw(_ELECTOR_ADDRESS).end(),
        VERSION_PARAM: Builder()
        .uint(0xC4, 8)
        .uint(GLOBAL_VERSION, 32)
        .uint(_CAPABILITIES, 64)
        .end(),
        12: _workchains(utime, shard_zero_root, shard_zero_file),
        14: Builder()
        .uint(0x6B, 8)
        .coins(0)
        .coins(0)
        .end(),  # no reward for a block: supply stays what the genesis gave
        15: Builder().uint(65_536, 32).uint(32_768, 32).uint(8_192, 32).uint(32_768, 32).end(),
        16: Builder().uint(100, 16).uint(100, 16).uint(1, 16).end(),
        17: Builder().coins(10**13).coins(10**16).coins(10**13).uint(196_608, 32).end(),
        18: _storage_prices(),
        20: _gas_prices(1_000_000, 655_360_000, special_limit=70_000_000, block_limit=2_500_000),
        21: _gas_prices(40_000, 26_214_400, special_limit=1_000_000, block_limit=10_000_000),
        22: _block_limits((131_072, 524_288, 1_048_576), (200_000, 1_000_000, 2_000_000)),
        23: _block_limits((262_144, 1_048_576, 2_097_152), (2_000_000, 10_000_000, 20_000_000)),
        24: _message_prices(10_000_000, 655_360_000, 65_536_000_000),
        25: _message_prices(400_000, 26_214_400, 2_621_440_000),
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


def _storage_prices() -> Cell:
    prices = (
        Builder()
        .uint(0xCC, 8)
        .uint(0, 32)
        .uint(1, 64)
        .uint(500, 64)
        .uint(1_000, 64)
        .uint(500_000, 64)
    )
    return Dictionary(32, NO_EXTRA).put(0, prices, None).root_builder().end()


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
    # size_limits_config#01: the libemulator in pytvm 0.0.14 knows an older layout of #02.
    return (
        Builder()
        .uint(1, 8)
        .uint(2_097_152, 32)
        .uint(8_192, 32)
        .uint(1_000, 32)
        .uint(512, 16)
        .uint(65_535, 32)
        .uint(512, 16)
        .end()
    )

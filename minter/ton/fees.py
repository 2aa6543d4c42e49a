"""What a mint and a revocation take at a network's prices. Pure; all amounts are nanograms.

Gas and sizes are those of the reference contracts, measured in the virtual machine
(tests/minter/ton/test_fees.py holds them there); they do not depend on the prices, on the badge or
on how many there are. An item's index, owner and content have one size for all.
"""

from dataclasses import dataclass

# The collection takes op 1 and sends the item its initial state.
_MINT_GAS = 7_251
_ITEM_MESSAGE_CELLS, _ITEM_MESSAGE_BITS = 23, 7_383
# The item writes down its owner.
_INITIALISE_GAS = 3_204
_REVOKE_GAS = 4_203
# A collection takes the money that it is deployed with.
_DEPLOY_GAS = 489


@dataclass(frozen=True, slots=True)
class NetworkPrices:
    """Gas and messages of the basechain (parameters 21 and 25 of the configuration).

    `gas`, `message_bit` and `message_cell` are nanograms times 2^16. `gas_flat` is taken for the
    first `gas_flat_units`, used or not.
    """

    gas: int
    gas_flat_units: int
    gas_flat: int
    message_lump: int
    message_bit: int
    message_cell: int

    def gas_nano(self, units: int) -> int:
        """Return what a transaction takes that uses `units` of gas."""
        return self.gas_flat + _rounded_up(max(0, units - self.gas_flat_units) * self.gas)

    def message_nano(self, cells: int, bits: int) -> int:
        """Return what a message takes whose cells, the root not counted, are so many."""
        return self.message_lump + _rounded_up(bits * self.message_bit + cells * self.message_cell)


@dataclass(frozen=True, slots=True)
class LeastValues:
    """What must at least be attached for a message to do its work.

    `mint_beside_forward`: what a mint needs beside what is forwarded to the item. With less the
    collection pays out of its own money, until that is used up and it mints nothing any more.
    `forward`: with less an item stays without an owner, and its index is used up.
    """

    mint_beside_forward: int
    forward: int
    revoke: int
    deploy: int


def least_values(prices: NetworkPrices) -> LeastValues:
    """Return the least values at `prices`."""
    item_message_nano = prices.message_nano(_ITEM_MESSAGE_CELLS, _ITEM_MESSAGE_BITS)
    return LeastValues(
        mint_beside_forward=prices.gas_nano(_MINT_GAS) + item_message_nano,
        forward=prices.gas_nano(_INITIALISE_GAS),
        revoke=prices.gas_nano(_REVOKE_GAS),
        deploy=prices.gas_nano(_DEPLOY_GAS),
    )


def _rounded_up(nano_65536: int) -> int:
    return -(-nano_65536 // 65_536)

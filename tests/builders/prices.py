"""What the main network took before it became cheaper in April 2026: six times as much."""

from sandbox.ton.config import BasechainPrices

BEFORE_APRIL_2026 = BasechainPrices(
    gas=26_214_400,
    gas_flat=40_000,
    message_lump=400_000,
    message_bit=26_214_400,
    message_cell=2_621_440_000,
    storage_bit=1,
    storage_cell=500,
)

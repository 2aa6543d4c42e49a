"""What a message costs, and how much of it the wallet can pay for. Pure.

All amounts are nanograms. A wallet with too little would use a query id up and send nothing
(docs/mint-lifecycle.md, Money), so the balance is asked before anything is signed.
"""

from dataclasses import dataclass
from typing import assert_never

from minter.ton.values import SELF_TRANSFER_NANO
from store.values.minting import ACTION_FEE_NANO, Commitments, MessageKind

# Forward fees that the wallet pays beside the values (mode 1), rounded up: of the message to
# itself; that of each action is ACTION_FEE_NANO.
MESSAGE_FEE_NANO = 30_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """What the operator attaches to each action, and what stays in the wallet."""

    mint_nano: int
    burn_nano: int
    deploy_nano: int
    reserve_nano: int

    def value_nano(self, kind: MessageKind) -> int:
        """Return the value attached to one action of a kind of message."""
        match kind:
            case MessageKind.MINT:
                return self.mint_nano
            case MessageKind.BURN:
                return self.burn_nano
            case MessageKind.DEPLOY:
                return self.deploy_nano
            case unreachable:
                assert_never(unreachable)


def cost_nano(kind: MessageKind, actions: int, prices: Prices) -> int:
    """Return what must lie in the wallet for one message with `actions`, fees included."""
    each_nano = prices.value_nano(kind) + ACTION_FEE_NANO
    return SELF_TRANSFER_NANO + MESSAGE_FEE_NANO + actions * each_nano


def spendable_nano(balance_nano: int, commitments: Commitments, prices: Prices) -> int:
    """Return what the wallet may still spend; below 0 where it promised more than it has.

    Args:
        balance_nano: the wallet's, at a block.
        commitments: unresolved messages; each counts in full, fees included, until its outcome is
            known.
        prices: the operator's settings.
    """
    of_kind = {
        MessageKind.MINT: commitments.mints,
        MessageKind.BURN: commitments.burns,
        MessageKind.DEPLOY: commitments.deploys,
    }
    committed_nano = commitments.messages * (SELF_TRANSFER_NANO + MESSAGE_FEE_NANO) + sum(
        actions * (prices.value_nano(kind) + ACTION_FEE_NANO) for kind, actions in of_kind.items()
    )
    return balance_nano - prices.reserve_nano - committed_nano


def room(kind: MessageKind, spendable: int, prices: Prices) -> int:
    """Return how many actions of `kind` one message can pay for with `spendable` nanograms."""
    each_nano = prices.value_nano(kind) + ACTION_FEE_NANO
    return max(0, (spendable - cost_nano(kind, 0, prices)) // each_nano)

"""What `laurel wallet show` says: where to pay, what is there, and how far it reaches."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from minter import budget
from minter.budget import Prices
from minter.context import prices_of
from minter.ton import tokens
from minter.ton.global_config import read_config
from minter.ton.highload_wallet import Wallet
from minter.ton.liteserver import LiteServers
from minter.ton.values import Account, Block
from ops.errors import Transient
from ops.quantities import shown_grams as grams
from ops.settings import Settings
from store.values.minting import Commitments, MessageKind

_PATIENCE_S = 5.0
# Enough for the collections of the shipped catalog and some hundred mints.
_FIRST_PAYMENT_NANO = 10 * 10**9


@dataclass(frozen=True, slots=True)
class WalletReport:
    """A wallet on its network. `error`: the network did not answer, and the rest is not known."""

    wallet: Wallet
    network: bytes
    prices: Prices
    found: tuple[Block, Account] | None
    error: str = ""

    @property
    def deployed(self) -> bool:
        """Return whether the wallet's contract is known to be there."""
        return self.found is not None and self.found[1].data is not None

    @property
    def pay_to(self) -> str:
        """Return the address as people pay to it: what the network cannot return, it must not."""
        return tokens.user_friendly(self.wallet.address, bounceable=self.deployed)

    @property
    def mints(self) -> int:
        """Return how many mints the balance pays for, beside the reserve."""
        if self.found is None:
            return 0
        nothing = Commitments(0, 0, 0)
        left = budget.spendable_nano(self.found[1].balance_nano, nothing, self.prices)
        return budget.room(MessageKind.MINT, left, self.prices)

    def document(self) -> dict[str, object]:
        """Return it for machines."""
        document: dict[str, object] = {
            "address": self.wallet.address,
            "pay_to": self.pay_to,
            "public_key": self.wallet.public_key.hex(),
            "network": self.network.hex(),
        }
        if self.found is None:
            return document | {"error": self.error}
        block, account = self.found
        return document | {
            "seqno": block.seqno,
            "balance_nano": account.balance_nano,
            "deployed": self.deployed,
            "mints": self.mints,
        }

    def text(self) -> str:
        """Return it for people."""
        lines = [
            f"pay to    {self.pay_to}",
            f"raw       {self.wallet.address}",
            f"network   {self.network.hex()}",
        ]
        if self.found is None:
            return "\n".join([*lines, f"balance   unknown: {self.error}"])
        block, account = self.found
        reserve = grams(self.prices.reserve_nano)
        lines.append(f"balance   {grams(account.balance_nano)} Grams at block {block.seqno}")
        lines.append(f"enough    for {self.mints:,} mints, beside the reserve of {reserve} Grams")
        lines.append(f"deployed  {'yes' if self.deployed else 'no: its first message does it'}")
        if not self.mints:
            lines.append(f"to do     send it {grams(self.missing_nano)} Grams or more")
        return "\n".join(lines)

    @property
    def missing_nano(self) -> int:
        """Return what a first payment should bring, beside what is there."""
        have_nano = 0 if self.found is None else self.found[1].balance_nano
        return first_payment_nano(have_nano, self.prices)


def first_payment_nano(balance_nano: int, prices: Prices) -> int:
    """Return what a first payment should bring to a wallet that has `balance_nano`."""
    return max(0, prices.reserve_nano + _FIRST_PAYMENT_NANO - balance_nano)


async def report(settings: Settings, wallet: Wallet) -> WalletReport:
    """Look at a wallet on the network of the settings, for as long as a person waits.

    Raises:
        UsageError: LAUREL_TON_CONFIG is missing or wrong.
    """
    config = read_config(Path(settings.need("ton_config")))
    prices = prices_of(settings.minter)
    async with LiteServers(
        config, servers=settings.minter.lite_servers, state_dir=settings.ton_state_dir
    ) as gateway:
        network = gateway.zero_state_hash
        try:
            async with asyncio.timeout(_PATIENCE_S):
                block = await gateway.newest_block()
                account = await gateway.account(wallet.address, block)
        except (Transient, TimeoutError) as error:
            reason = str(error) or "no lite server answered in time"
            return WalletReport(wallet, network, prices, None, reason)
    return WalletReport(wallet, network, prices, (block, account))

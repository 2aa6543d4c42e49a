"""A chain without a network around it, on a clock that stands still, and what tests do on it."""

from dataclasses import dataclass, field
from pathlib import Path

from sandbox.ton.accounts import faucet
from sandbox.ton.cells import Address, Cell
from sandbox.ton.chain import Chain, ChainClock, ChainOptions
from tests.sandbox.ton.contracts import GRAM, Collection, HighloadWallet

NOW = 1_700_000_000
OWNER = Address(0, b"\x44" * 32)


def a_chain(
    *,
    transactions_per_block_max: int = 4_000,
    state_window: int = 1_000,
    library: Path | None = None,
) -> Chain:
    options = ChainOptions(
        transactions_per_block_max=transactions_per_block_max,
        state_window=state_window,
        user_wallets=2,
        emulator_library=library,
    )
    return Chain(options, ChainClock(lambda: NOW))


@dataclass
class Minter:
    """A wallet with money and a collection, deployed."""

    chain: Chain
    wallet: HighloadWallet = field(default_factory=HighloadWallet)
    queries: int = 0

    def __post_init__(self) -> None:
        payment = faucet(self.chain.options.seed).payment(
            self.wallet.address, 1_000 * GRAM, query=0, created_at=self.chain.last.utime - 1
        )
        self.chain.submit(payment)
        self.settle()
        self.send([self.collection.deploy()], deploy=True)
        self.settle()

    @property
    def collection(self) -> Collection:
        return Collection(self.wallet.address)

    def signed(self, messages: list[Cell], *, deploy: bool = False) -> bytes:
        query, self.queries = self.queries, self.queries + 1
        created_at = self.chain.last.utime - 30
        return self.wallet.external(messages, query=query, created_at=created_at, deploy=deploy)

    def send(self, messages: list[Cell], *, deploy: bool = False) -> None:
        self.chain.submit(self.signed(messages, deploy=deploy))

    def settle(self) -> None:
        self.chain.produce()
        while self.chain.waiting:
            self.chain.produce()

    def mint(self, first: int, count: int) -> None:
        self.send([self.collection.mint(first + index, OWNER) for index in range(count)])

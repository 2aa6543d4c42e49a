"""What the tests do on chain, through pytonlib alone: deploy, mint, send."""

from dataclasses import dataclass, field

from pytonlib import TonlibClient

from sandbox.ton.cells import Cell
from sandbox.ton.network import TonNetwork
from tests.sandbox.ton.contracts import GRAM, Collection, HighloadWallet


@dataclass
class Minting:
    network: TonNetwork
    client: TonlibClient
    wallet: HighloadWallet = field(default_factory=HighloadWallet)
    queries: int = 0

    @property
    def collection(self) -> Collection:
        return Collection(self.wallet.address)

    def signed(self, messages: list[Cell], *, deploy: bool = False, value: int = GRAM) -> bytes:
        query, self.queries = self.queries, self.queries + 1
        created_at = self.network.chain.last.utime - 30
        return self.wallet.external(
            messages, query=query, created_at=created_at, deploy=deploy, value=value
        )

    async def deploy(self) -> None:
        await self.network.fund(self.wallet.address, 1_000 * GRAM)
        await self.client.raw_send_message(self.signed([self.collection.deploy()], deploy=True))
        await self.settled()

    async def send(self, messages: list[Cell], *, value: int = GRAM) -> None:
        await self.client.raw_send_message(self.signed(messages, value=value))
        await self.settled()

    async def settled(self) -> None:
        """Wait until no message is on its way."""
        await self.network.next_block()
        while self.network.chain.waiting:
            await self.network.next_block()

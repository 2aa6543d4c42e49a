"""More lite servers of a local network, each with a failing of its own."""

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from sandbox import ports
from sandbox.ton.accounts import derived_key
from sandbox.ton.adnl import AdnlServer
from sandbox.ton.blocks import Block
from sandbox.ton.chain import Chain
from sandbox.ton.network import TonNetwork, global_config
from sandbox.ton.server import LiteServer
from sandbox.ton.states import MASTERCHAIN
from sandbox.ton.tl import TlObject, lite_api

ACCOUNT = "getAccountState"


class _Stalling:
    """A chain as a lite server knows it that got no blocks since it stalled."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.stalled_at: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    @property
    def last(self) -> Block:
        """The newest masterchain block."""
        return self.blocks(MASTERCHAIN)[-1]

    def blocks(self, workchain: int) -> Sequence[Block]:
        """All blocks of a workchain; both have one a seqno."""
        known = self._chain.blocks(workchain)
        return known if self.stalled_at is None else known[: self.stalled_at + 1]


class FailingServer:
    """A lite server's answers, and what is wrong with them from when a test says so.

    Attributes:
        asked: how often each query came.
        silent_on: queries that are never answered; "" is all of them.
        delay_s: before each answer.
        lies: its accounts are other than its proofs say.
        slow_accounts: raw addresses of accounts that alone are answered for after `delay_s`.
        unreadable: raw addresses of accounts that it answers with an error.
        side_by_side: how many accounts it was asked for at the same time, at most.
    """

    def __init__(self, network: TonNetwork) -> None:
        self._chain = _Stalling(network.chain)
        self._honest = LiteServer(cast("Chain", self._chain)).answer
        self.asked = Counter[str]()
        self.silent_on = set[str]()
        self.delay_s = 0.0
        self.lies = False
        self.slow_accounts = set[str]()
        self.unreadable = set[str]()
        self.side_by_side = 0
        self._accounts = 0

    @property
    def newest(self) -> int:
        """The newest block that it knows."""
        return self._chain.last.id.seqno

    def stall(self) -> None:
        """Learn of no further block."""
        self._chain.stalled_at = self._chain.last.id.seqno

    async def answer(self, data: bytes) -> bytes | None:
        """Answer a query, or not."""
        request = _request(data)
        kind = str(request["@type"]).removeprefix("liteServer.")
        self.asked[kind] += 1
        if kind in self.silent_on or "" in self.silent_on:
            return None
        if kind == ACCOUNT and _raw(request["account"]) in self.unreadable:
            error = {"@type": "liteServer.error", "code": -400, "message": "it has no such state"}
            return lite_api().serialize(error)
        self._accounts += kind == ACCOUNT
        self.side_by_side = max(self.side_by_side, self._accounts)
        if not self.slow_accounts or (
            kind == ACCOUNT and _raw(request["account"]) in self.slow_accounts
        ):
            await asyncio.sleep(self.delay_s)
        answer = await self._honest(data)
        self._accounts -= kind == ACCOUNT
        if self.lies and kind == ACCOUNT:
            value = lite_api().deserialize(answer)
            value["state"] = b""
            return lite_api().serialize(value)
        return answer


@asynccontextmanager
async def lite_servers(
    network: TonNetwork, servers: Sequence[FailingServer | None]
) -> AsyncIterator[dict[str, Any]]:
    """Run lite servers; yield the network's global config with them, in that order.

    None is the network's own.
    """
    config = copy.deepcopy(network.config)
    own = config["liteservers"]
    config["liteservers"] = []
    async with AsyncExitStack() as stack:
        for number, server in enumerate(servers):
            if server is None:
                config["liteservers"] += own
                continue
            key = derived_key(network.chain.options.seed, f"lite server {number}")
            running = AdnlServer(key, server.answer)
            with ports.reserved("127.0.0.1", None) as port:
                await running.start("127.0.0.1", port)
            stack.push_async_callback(running.close)
            made = global_config(network.chain, "127.0.0.1", port, running.public_key)
            config["liteservers"] += made["liteservers"]
        yield config


def _request(data: bytes) -> TlObject:
    request, rest = lite_api().read(lite_api().deserialize(data)["data"])
    return lite_api().read(rest)[0] if rest else request


def _raw(account: TlObject) -> str:
    number = account["id"]
    return f"{account['workchain']}:{number if isinstance(number, str) else number.hex()}"

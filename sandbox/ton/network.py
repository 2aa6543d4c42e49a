"""The network as a whole.

A chain that makes blocks, and a lite server that any TON client can talk to.

    async with TonNetwork.start(TonOptions(directory=path)) as network:
        client = TonlibClient(0, network.config, keystore)

Blocks come by themselves every `block_interval`, or only by `produce` when that is None. Execution
runs in a thread, so reads are answered meanwhile, out of the newest finished block.
"""

import asyncio
import base64
import ipaddress
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from ops.errors import Transient, UsageError
from ops.logs import logger
from ops.throwaway import throwaway
from sandbox.ports import reachable, reserved
from sandbox.ton.accounts import derived_key, faucet
from sandbox.ton.adnl import AdnlServer, Handler
from sandbox.ton.blocks import Block
from sandbox.ton.boc import from_boc
from sandbox.ton.cells import Address, CellError
from sandbox.ton.chain import Chain, ChainClock, ChainOptions
from sandbox.ton.messages import read_transaction
from sandbox.ton.server import LiteServer
from sandbox.ton.states import MASTERCHAIN, BlockId

log = logger("ton.network")

CONFIG_NAME = "global.config.json"
_SHARD = -(1 << 63)
# A dropped message is seen missing after the block it was for; one more for a block that was under
# way.
_BLOCKS_TO_EXECUTE = 2


class FaucetFailed(Transient):
    """The faucet's payment did not happen; nothing was paid."""

    code = "faucet_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TonOptions:
    """How a network runs; `chain` says what it is."""

    chain: ChainOptions = field(default_factory=ChainOptions)
    # None: only when asked (`produce`)
    block_interval: timedelta | None = timedelta(milliseconds=400)
    host: str = "127.0.0.1"
    # None: a free one
    port: int | None = None
    # what the global config names; the bound address unless given
    advertised_host: str | None = None
    # where the global config is written; a temporary one unless given
    directory: Path | None = None

    def __post_init__(self) -> None:
        """Refuse an interval that would be no interval."""
        if self.block_interval is not None and self.block_interval <= timedelta(0):
            raise UsageError(
                "block_interval must be longer than nothing; leave it out for blocks on demand."
            )


def unchanged(handler: Handler) -> Handler:
    """Return the lite server's answers as they are."""
    return handler


class TonNetwork:
    """A running network; made by `start`."""

    def __init__(
        self, chain: Chain, options: TonOptions, config: dict[str, Any], config_path: Path
    ) -> None:
        self.chain = chain
        self.config = config
        self.config_path = config_path
        self._options = options
        self._faucet = faucet(chain.options.seed)
        self._payments = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ton-execute")
        self._producing = asyncio.Lock()
        self._block_made = asyncio.Condition()
        self._failure: Exception | None = None
        self._in_production: set[asyncio.Task[Block]] = set()

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        options: TonOptions | None = None,
        clock: ChainClock | None = None,
        around: Callable[[Handler], Handler] = unchanged,
    ) -> AsyncIterator["TonNetwork"]:
        """Run a network while the block runs; its lite server answers from the first moment.

        Args:
            options: the defaults unless given.
            clock: the network's time; the host's unless given.
            around: wraps the lite server's answers, to delay or falsify them.

        Raises:
            PartMissing: there is no virtual machine for this platform.
            UsageError: an address is taken or cannot be resolved, or an option is refused.
        """
        options = options or TonOptions()
        chain = Chain(options.chain, clock)
        key = derived_key(options.chain.seed, "lite server")
        server = AdnlServer(key, around(LiteServer(chain).answer))
        try:
            with reserved(options.host, options.port) as port:
                await server.start(options.host, port)
            config = global_config(
                chain, options.advertised_host or reachable(options.host), port, server.public_key
            )
            named = options.directory
            with throwaway("ton") if named is None else nullcontext(named) as place:
                path = place / CONFIG_NAME
                write_json(path, config)
                network = cls(chain, options, config, path)
                log.info("network_started", host=options.host, port=port, config=str(path))
                async with network._blocks_made():
                    yield network
        finally:
            await server.close()
            chain.close()

    @asynccontextmanager
    async def _blocks_made(self) -> AsyncIterator[None]:
        """Make blocks while the block runs. A failing machine ends it.

        The group cancels the caller and raises.
        """
        try:
            async with asyncio.TaskGroup() as group:
                ticker = group.create_task(self._tick())
                try:
                    yield
                finally:
                    if (
                        self._failure is None
                    ):  # else it is about to end by that, and the group tells
                        ticker.cancel()
        finally:
            # Blocks under way are finished before their machine is given back.
            await asyncio.gather(*self._in_production, return_exceptions=True)
            self._thread.shutdown()

    async def _tick(self) -> None:
        interval = self._options.block_interval
        if interval is None:
            return
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + interval.total_seconds(), loop.time())
            await asyncio.sleep(due - loop.time())
            await self.produce()

    async def produce(self) -> Block:
        """Make the next block now; return the masterchain's.

        Raises:
            InvariantBroken: the virtual machine failed.
        """
        # Shielded: a caller that is cancelled must not take with it the messages that the block
        # already took.
        block = asyncio.create_task(self._produce())
        self._in_production.add(block)
        block.add_done_callback(self._in_production.discard)
        return await asyncio.shield(block)

    async def _produce(self) -> Block:
        async with self._producing:
            loop = asyncio.get_running_loop()
            work = self.chain.begin()
            try:
                block = self.chain.append(
                    *await loop.run_in_executor(self._thread, self.chain.execute, work)
                )
            # the network's main loop: whatever ends it is told to those who wait for blocks
            except Exception as error:
                self._failure = error
                raise
            finally:
                async with self._block_made:
                    self._block_made.notify_all()
        return block

    def advance(self, by: timedelta) -> None:
        """Move the network's clock ahead; the next block has the new time.

        Raises:
            UsageError: `by` is negative.
        """
        self.chain.clock.advance(by)

    async def next_block(self) -> Block:
        """Return the next masterchain block; where blocks are made on demand, this demands one.

        Raises:
            InvariantBroken: the virtual machine failed, and there will be no next block.
        """
        if self._options.block_interval is None:
            return await self.produce()
        seqno = self.chain.last.id.seqno
        async with self._block_made:
            await self._block_made.wait_for(
                lambda: self.chain.last.id.seqno > seqno or self._failure is not None
            )
        if self._failure is not None:
            raise self._failure
        return self.chain.last

    async def fund(self, address: Address | str, amount_nano: int) -> None:
        """Pay from the faucet; return once the money has arrived.

        Args:
            address: of workchain 0, deployed or not; raw or user-friendly when a string.
            amount_nano: what arrives.

        Raises:
            UsageError: no address of workchain 0, or no positive amount.
            FaucetFailed: the payment was dropped, or the faucet is empty.
        """
        destination = _destination(address)
        if amount_nano <= 0:
            raise UsageError(f"The faucet pays positive amounts, not {amount_nano}.")
        query, self._payments = self._payments, self._payments + 1
        created_at = max(self.chain.clock.now(), self.chain.last.utime) - 1
        payment = self._faucet.payment(destination, amount_nano, query=query, created_at=created_at)
        self.chain.submit(payment)
        sent = await self._transaction_of(from_boc(payment).hash, _BLOCKS_TO_EXECUTE)
        if sent is None:
            raise FaucetFailed(
                "The faucet's message was dropped: the clock was advanced meanwhile. Try again."
            )
        message = next(
            iter(read_transaction(from_boc(self.chain.transactions[sent].boc)).out_messages), None
        )
        if message is None:
            raise FaucetFailed(f"The faucet has less than {amount_nano} nanograms left.")
        await self._transaction_of(message.hash, None)

    async def _transaction_of(
        self, message_hash: bytes, blocks_max: int | None
    ) -> tuple[bytes, int] | None:
        """Return (account, lt) of the transaction that a message caused.

        None if there is none after `blocks_max` blocks.
        """
        waited = 0
        while (found := self.chain.transaction_of_message.get(message_hash)) is None:
            if waited == blocks_max:
                return None
            await self.next_block()
            waited += 1
        return found


def _destination(address: Address | str) -> Address:
    try:
        parsed = Address.parse(address) if isinstance(address, str) else address
    except CellError as error:
        raise UsageError(f"{error}.") from error
    if parsed.workchain != 0:
        raise UsageError(f"{parsed}: the faucet pays accounts of workchain 0.")
    return parsed


def global_config(chain: Chain, host: str, port: int, public_key: bytes) -> dict[str, Any]:
    """Return the global config by which TON clients find a network.

    Lite servers, the zero state, and where proofs start.

    Args:
        chain: the network's chain.
        host: a name or IPv4 address that clients can reach; the config holds the address.
        port: of the lite server.
        public_key: of the lite server.

    Raises:
        UsageError: `host` cannot be resolved.
    """
    try:
        address = ipaddress.IPv4Address(socket.gethostbyname(host))
    except (OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
        raise UsageError(f"{host}: the advertised host has no IPv4 address ({error}).") from error
    return {
        "@type": "config.global",
        "dht": {
            "@type": "dht.config.global",
            "k": 6,
            "a": 3,
            "static_nodes": {"@type": "dht.nodes", "nodes": []},
        },
        "liteservers": [
            {
                "ip": int.from_bytes(address.packed, "big", signed=True),
                "port": port,
                "id": {"@type": "pub.ed25519", "key": base64.b64encode(public_key).decode()},
            }
        ],
        "validator": {
            "@type": "validator.config.global",
            "zero_state": _block_json(chain.zero.id),
            # tonutils-go does not start from a zero state: the key block it is
            "init_block": _block_json(chain.key_block.id),
            "hardforks": [],
        },
        # Of no meaning to other clients. Nothing of this network stays, so its tokens may name
        # metadata that nobody serves.
        "laurel_local_network": {"metadata_base_url": "https://badges.example/metadata"},
    }


def _block_json(block: BlockId) -> dict[str, Any]:
    return {
        "workchain": MASTERCHAIN,
        "shard": _SHARD,
        "seqno": block.seqno,
        "root_hash": base64.b64encode(block.root_hash).decode(),
        "file_hash": base64.b64encode(block.file_hash).decode(),
    }


def write_json(path: Path, value: object) -> None:
    """Write `value` so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)

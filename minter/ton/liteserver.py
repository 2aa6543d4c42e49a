"""TON through pytonlib.

Several lite servers side by side, clients rebuilt when they die, errors of Laurel's kinds.

A TonlibClient talks to one lite server and never recovers once it is `stuck` or `crashed`; it is
then thrown away and made anew. Reads are repeated, each time by the server that was asked least and
failed least; sends never are: an error of a send means unknown, not failed.
"""

import asyncio
import base64
import json
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self

from pytonlib import TonlibClient
from pytonlib.tonlibjson import (
    BlockDeleted,
    BlockNotFound,
    ExternalMessageNotAccepted,
    TonlibException,
)
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from minter.ton.gateway import BlockUnknown, ChainUnreachable, HistoryForgotten
from minter.ton.values import Account, AccountTransaction, Block, SendOutcome, SendResult
from ops import metrics
from ops.errors import LaurelError, UsageError
from ops.logs import logger
from store.values import RawAddress

log = logger("liteserver")

Json = dict[str, Any]
_MASTERCHAIN = -1
_SHARD = -9223372036854775808
_ATTEMPTS = 6
_IN_FLIGHT = 64  # reads at once: more only queue up in the lite server
_ANSWER_TIMEOUT_S = 10.0  # pytonlib's own default: it raises TonlibNoResponse then
_SETTING = "LAUREL_TON_CONFIG"
# A lite server keeps blocks for some time only, unless it is an archive.
_FORGOTTEN = "cannot locate transaction in block"


def read_config(path: Path) -> Json:
    """Return a TON global config.

    Raises:
        UsageError: the file is missing, is no JSON, or lacks lite servers or the zero state.
    """
    way_out = (
        f"{_SETTING} should name a TON global config, such as https://ton.org/global.config.json."
    )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}. {way_out}", setting=_SETTING) from None
    except ValueError as error:
        raise UsageError(f"{path}: no JSON ({error}). {way_out}", setting=_SETTING) from None
    try:
        servers = config["liteservers"]
        zero = base64.b64decode(config["validator"]["zero_state"]["root_hash"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: no global config: {error!r} is missing or wrong. {way_out}", setting=_SETTING
        ) from None
    # tonlib takes a hash of zeros for "not configured", and would check nothing against it.
    if not servers or len(zero) != 32 or not any(zero):
        raise UsageError(f"{path}: no lite servers, or no zero state. {way_out}", setting=_SETTING)
    return dict(config)


def zero_state_hash(config: Mapping[str, Any]) -> bytes:
    """Return the root hash of the zero state that `config` (from `read_config`) names."""
    return base64.b64decode(config["validator"]["zero_state"]["root_hash"])


def _place(server: Json) -> str:
    """Return host:port of a global config's lite server.

    Its `ip` is the IPv4 address as a signed 32-bit integer.
    """
    ip = server.get("ip")
    host = str(IPv4Address(ip & 0xFFFFFFFF)) if isinstance(ip, int) else "an unnamed address"
    return f"{host}:{server.get('port')}"


class _Server:
    """One lite server and the client that talks to it, made when it is first needed."""

    def __init__(self, config: Json, index: int, keystore: str) -> None:
        self._config = config
        self._index = index
        self._place = _place(config["liteservers"][index])
        self._keystore = keystore
        self._client: TonlibClient | None = None
        self._making = asyncio.Lock()
        self.failures = 0

    async def ask(self, call: Callable[[TonlibClient], Coroutine[Any, Any, Json]]) -> Json:
        """Run one call.

        Raises:
            ChainUnreachable, BlockUnknown: in place of pytonlib's errors;
            ExternalMessageNotAccepted passes, for `send`.
        """
        client = await self._ready()
        # Shielded: pytonlib's expiry loop dies on a future that its caller cancelled, and with it
        # every later timeout.
        inner = asyncio.ensure_future(call(client))
        inner.add_done_callback(_looked_at)
        try:
            answer = await asyncio.shield(inner)
        except ExternalMessageNotAccepted:
            raise
        except (BlockNotFound, BlockDeleted) as error:
            raise BlockUnknown(
                f"the lite server at {self._place} lacks a block: {error}", server=self._place
            ) from None
        except (TonlibException, RuntimeError, OSError) as error:
            self.failures += 1
            await self._drop_if_dead(client)
            reason = str(error).strip() or type(error).__name__
            raise ChainUnreachable(
                f"the lite server at {self._place} does not answer: {reason}", server=self._place
            ) from None
        self.failures = 0
        return answer

    async def close(self) -> None:
        """Close the client, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _ready(self) -> TonlibClient:
        async with self._making:
            if self._client is None:
                client = TonlibClient(
                    self._index, self._config, self._keystore, tonlib_timeout=_ANSWER_TIMEOUT_S
                )
                try:
                    await client.init()
                except (TonlibException, RuntimeError) as error:
                    self.failures += 1
                    await client.close()
                    if "INVALID_CONFIG" in str(error):
                        raise UsageError(
                            f"{_SETTING}: tonlib refuses the global config: {error}.",
                            setting=_SETTING,
                        ) from None
                    raise ChainUnreachable(
                        f"the lite server at {self._place}: tonlib did not start: {error}"
                    ) from None
                self._client = client
            return self._client

    async def _drop_if_dead(self, client: TonlibClient) -> None:
        wrapper = client.tonlib_wrapper
        # pytonlib has no public word for it; the attribute is the one its own methods check.
        if (
            client is self._client
            and wrapper is not None
            and wrapper._state in ("stuck", "crashed")  # noqa: SLF001
        ):
            log.warning("client_rebuilt", server=self._place, state=wrapper._state)  # noqa: SLF001
            await self.close()


class LiteServers:
    """The lite servers of a global config.

    Use it as `async with LiteServers(config) as gateway`.
    """

    def __init__(
        self, config: Json, *, servers: int = 3, send_timeout: timedelta = timedelta(seconds=15)
    ) -> None:
        """Prepare; nothing is sent before the first question.

        Args:
            config: from `read_config`.
            servers: how many of its lite servers are used side by side.
            send_timeout: how long a send may take; a slower answer counts as unknown.
        """
        self._config = config
        self._count = min(servers, len(config["liteservers"]))
        self._send_timeout = send_timeout
        self._servers: list[_Server] = []
        self._sends: set[asyncio.Task[SendResult]] = set()
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for index in range(self._count):
            keystore = self._stack.enter_context(
                tempfile.TemporaryDirectory(prefix="laurel-tonlib-")
            )
            self._servers.append(_Server(self._config, index, keystore))
        return self

    async def __aexit__(self, *exc: object) -> None:
        for each in self._sends:
            each.cancel()
        await asyncio.gather(*(server.close() for server in self._servers))
        await self._stack.aclose()

    @property
    def zero_state_hash(self) -> bytes:
        """Return the root hash of the network's zero state."""
        return zero_state_hash(self._config)

    async def newest_block(self) -> Block:
        """Return the newest masterchain block that a lite server can prove."""

        async def call(client: TonlibClient) -> Json:
            # `sync` proves the block by validators' signatures from the configured one on;
            # getMasterchainInfo only repeats hearsay.
            return await _header(client, await client.sync_tonlib())

        return _block(await self._read("newest_block", call))

    async def block(self, seqno: int) -> Block:
        """Return the masterchain block `seqno`."""

        async def call(client: TonlibClient) -> Json:
            return await _header(client, await client.lookup_block(_MASTERCHAIN, _SHARD, seqno))

        return _block(await self._read("block", call))

    async def account(self, address: RawAddress, block: Block) -> Account:
        """Return an account as it was at `block`."""
        # pytonlib's raw_get_account_state(seqno=) looks the block up anew for each call; its id is
        # known here.
        request = {
            "@type": "withBlock",
            "id": _block_id(block),
            "function": {
                "@type": "raw.getAccountState",
                "account_address": {"account_address": address},
            },
        }

        async def call(client: TonlibClient) -> Json:
            answer: Json = await client.tonlib_wrapper.execute(
                dict(request), timeout=client.tonlib_timeout
            )
            return answer

        async with self._room:
            answer = await self._read("account", call)
        data = base64.b64decode(answer["data"]) if answer.get("data") else None
        last = answer.get("last_transaction_id") or {}
        return Account(
            max(0, int(answer["balance"])), data, int(last.get("lt", 0)), last.get("hash", "")
        )

    async def accounts(self, addresses: Sequence[RawAddress], block: Block) -> list[Account]:
        """Return many accounts at one block, in the order asked for."""
        return list(await asyncio.gather(*(self.account(address, block) for address in addresses)))

    async def transactions(
        self, address: RawAddress, account: Account, after_lt: int
    ) -> list[AccountTransaction]:
        """Return an account's transactions later than `after_lt`, newest first."""
        found: list[AccountTransaction] = []
        lt, hash_ = account.last_lt, account.last_hash
        while lt > after_lt:
            page = await self._page(address, lt, hash_)
            listed = [
                AccountTransaction(
                    int(each["transaction_id"]["lt"]), base64.b64decode(each["data"])
                )
                for each in page["transactions"]
            ]
            if not listed:
                raise ChainUnreachable(f"a lite server lists no transaction {lt} of {address}")
            found += [each for each in listed if each.lt > after_lt]
            before = page["previous_transaction_id"]
            lt, hash_ = int(before["lt"]), before["hash"]
        return found

    async def _page(self, address: RawAddress, lt: int, hash_: str) -> Json:
        # tonlib holds each transaction to the hash that the one after it names, and the first one
        # to the hash that is asked for: that of an account's proven state.
        request = {
            "@type": "raw.getTransactions",
            "account_address": {"account_address": address},
            "from_transaction_id": {
                "@type": "internal.transactionId",
                "lt": str(lt),
                "hash": hash_,
            },
        }

        async def call(client: TonlibClient) -> Json:
            answer: Json = await client.tonlib_wrapper.execute(
                dict(request), timeout=client.tonlib_timeout
            )
            return answer

        try:
            return await self._read("transactions", call)
        except ChainUnreachable as error:
            if _FORGOTTEN in error.message:
                raise HistoryForgotten(
                    f"no lite server has the transactions of {address} up to {lt} any more"
                ) from None
            raise

    async def send(self, boc: bytes) -> SendResult:
        """Hand a message to every lite server; return with the first that accepts it.

        The fastest may refuse what another takes.
        """
        sends = {asyncio.create_task(self._send_to(server, boc)) for server in self._servers}
        self._sends |= sends
        for each in sends:
            each.add_done_callback(self._sends.discard)
        receipts = []
        for done in asyncio.as_completed(sends):
            receipts.append(await done)
            if receipts[-1].outcome is SendOutcome.ACCEPTED:
                return receipts[-1]
        refused = [result for result in receipts if result.outcome is SendOutcome.REJECTED]
        return (
            refused[0]
            if len(refused) == len(receipts)
            else SendResult(SendOutcome.UNKNOWN, receipts[0].detail)
        )

    async def _send_to(self, server: _Server, boc: bytes) -> SendResult:
        async def call(client: TonlibClient) -> Json:
            answer: Json = await client.raw_send_message(boc)
            return answer

        try:
            async with asyncio.timeout(self._send_timeout.total_seconds()):
                await server.ask(call)
        except ExternalMessageNotAccepted as error:
            return SendResult(SendOutcome.REJECTED, str(error).strip().partition("\n")[0][:300])
        except (LaurelError, TimeoutError) as error:
            return SendResult(SendOutcome.UNKNOWN, str(error)[:300] or "no answer in time")
        return SendResult(SendOutcome.ACCEPTED)

    async def _read(
        self, operation: str, call: Callable[[TonlibClient], Coroutine[Any, Any, Json]]
    ) -> Json:
        asked: Counter[_Server] = Counter()

        def next_in_line(server: _Server) -> tuple[int, int]:
            return asked[server], server.failures

        def before_sleep(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            metrics.RETRIES.labels(
                f"liteserver_{operation}", getattr(error, "code", "unknown")
            ).inc()

        attempts = AsyncRetrying(
            retry=retry_if_exception_type((ChainUnreachable, BlockUnknown)),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            before_sleep=before_sleep,
            reraise=True,
        )

        async def attempt() -> Json:
            server = min(self._servers, key=next_in_line)
            asked[server] += 1
            return await server.ask(call)

        return await attempts(attempt)


def _looked_at(inner: "asyncio.Future[Json]") -> None:
    if not inner.cancelled():
        # retrieved, so that an answer nobody waits for any more is not reported as lost
        inner.exception()


def _header(client: TonlibClient, block_id: Mapping[str, Any]) -> Awaitable[Json]:
    async def ask() -> Json:
        hashes = (block_id["root_hash"], block_id["file_hash"])
        header: Json = await client.get_block_header(
            _MASTERCHAIN, _SHARD, block_id["seqno"], *hashes
        )
        return header

    return ask()


def _block(header: Json) -> Block:
    block_id = header["id"]
    return Block(
        int(block_id["seqno"]),
        datetime.fromtimestamp(int(header["gen_utime"]), UTC),
        block_id["root_hash"],
        block_id["file_hash"],
    )


def _block_id(block: Block) -> Json:
    return {
        "@type": "ton.blockIdExt",
        "workchain": _MASTERCHAIN,
        "shard": _SHARD,
        "seqno": block.seqno,
        "root_hash": block.root_hash,
        "file_hash": block.file_hash,
    }

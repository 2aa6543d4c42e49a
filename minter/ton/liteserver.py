"""TON through the lite servers of a global config, all of them.

A stalled, slow, silent or lying one never stops the minter beside a healthy one, wherever it stands
in the list. The newest block is the newest that any of them proves; each question goes to the one
that is expected to answer it soonest, and after a moment without an answer to the next one, too.
Sends go to all, and are never repeated here: an error of a send means unknown, not failed.
"""

import asyncio
import base64
import random
import tempfile
from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

from pytonlib import TonlibClient
from pytonlib.tonlibjson import ExternalMessageNotAccepted, TonlibException

from minter.ton.gateway import BlockUnknown, ChainUnreachable, HistoryForgotten
from minter.ton.global_config import Json, zero_state_hash
from minter.ton.lite_client import ANSWER_TIMEOUT_S, Call, LiteClient
from minter.ton.server_scores import TIP
from minter.ton.spending import spent_nano
from minter.ton.values import Account, AccountTransaction, Block, SendOutcome, SendResult
from ops import metrics
from ops.errors import LaurelError, Transient, UsageError
from ops.logs import logger
from ops.progress import went_on
from ops.sparing import OnceAMinute
from ops.throwaway import throwaway
from store.values.names import RawAddress

log = logger("liteserver")
_said = OnceAMinute()

Result = TypeVar("Result")
_MASTERCHAIN = -1
_SHARD = -9223372036854775808
_ROUNDS = 6  # that a question goes through all servers where each answers with an error
_IN_FLIGHT = 64  # reads at once: more only queue up in the lite server
_OF_ONE_CALLER = 32  # of them: a reconcile of many thousands leaves room for a mint
# How long a newer block is waited for once one has come: the nearest server need not be the newest.
_GRACE_S = 0.05
# How often those are looked at that are not asked at each turn.
_LOOK_EVERY_S = 5.0
# Without an answer for three times the usual, within these bounds, the next server is asked too.
_PATIENCE_MIN_S, _PATIENCE_MAX_S = 0.25, 2.0
FAR_BEHIND = 10  # blocks: it stalls, or lags too much to be of use
# A lite server keeps blocks for some time only, unless it is an archive.
_FORGOTTEN = "cannot locate transaction in block"


@dataclass(frozen=True, slots=True)
class ServerTip:
    """What one lite server answered to the question for its newest block.

    Args:
        place: host:port.
        block: that it proved; None: it did not answer in time, or with an error.
        failure: why there is no block.
        seconds: how long the answer took, or was waited for.
    """

    place: str
    block: Block | None
    failure: str
    seconds: float


class LiteServers:
    """The lite servers of a global config.

    Use it as `async with LiteServers(config) as gateway`.
    """

    def __init__(
        self,
        config: Json,
        *,
        servers: int = 3,
        send_timeout: timedelta = timedelta(seconds=15),
        state_dir: Path | None = None,
    ) -> None:
        """Prepare; nothing is sent before the first question.

        Args:
            config: from `global_config.read_config`.
            servers: how many of its lite servers are asked for the newest block at each turn, the
                best ones; the others are looked at every few seconds.
            send_timeout: how long a send may take; a slower answer counts as unknown.
            state_dir: where to keep what was proven of the chain, so that the next start goes on
                from there; nowhere unless given.
        """
        self._config = config
        self._at_each_turn = servers
        self._send_timeout = send_timeout
        self._state_dir = state_dir
        self._servers: list[LiteClient] = []
        self._looks: dict[LiteClient, asyncio.Task[Block]] = {}
        # asks that nobody may wait for any more: their answers are scored all the same
        self._tasks: set[asyncio.Task[Any]] = set()
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for index in range(len(self._config["liteservers"])):
            server = LiteClient(self._config, index, self._keystore(index))
            self._servers.append(server)
            metrics.LITE_SERVER_UP.labels(server.place).set(0)
            metrics.LITE_SERVER_BLOCKS_BEHIND.labels(server.place).set(float("nan"))
        return self

    async def __aexit__(self, *exc: object) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*(server.close() for server in self._servers))
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stack.aclose()

    def _keystore(self, index: int) -> str:
        if self._state_dir is None:
            return str(self._stack.enter_context(throwaway("tonlib")))
        # By its key: what a server led to stays with it when the list changes.
        key = self._config["liteservers"][index].get("id", {}).get("key", str(index))
        directory = self._state_dir / base64.urlsafe_b64encode(str(key).encode()).decode()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # tonlib writes there at its leisure, and says nothing where it cannot.
            with tempfile.NamedTemporaryFile(dir=directory, prefix="laurel-") as tried:
                tried.write(b"can be written")
        except OSError as error:
            raise UsageError(
                f"LAUREL_TON_STATE_DIR: {directory}: {error.strerror}. Name a directory that this "
                "process may write to, or leave it out.",
                setting="LAUREL_TON_STATE_DIR",
            ) from None
        return str(directory)

    @property
    def zero_state_hash(self) -> bytes:
        """Return the root hash of the network's zero state."""
        return zero_state_hash(self._config)

    async def newest_block(self) -> Block:
        """Return the newest masterchain block that any lite server has proved."""
        failure = await self._look_at(self._polled(), _PATIENCE_MAX_S)
        if failure is not None:
            failure = await self._look_at(self._servers, ANSWER_TIMEOUT_S)
        if failure is not None:
            raise failure
        return max(
            (server.tip for server in self._servers if server.tip is not None),
            key=lambda block: block.seqno,
        )

    async def survey(self, patience: timedelta, grace: timedelta) -> list[ServerTip]:
        """Ask every lite server by itself for its newest block; return their answers in order.

        Args:
            patience: how long to wait for the first block.
            grace: and for the other servers once there is one.
        """
        now = asyncio.get_running_loop().time
        started, seconds = now(), dict[asyncio.Task[Block], float]()
        looks = []
        for server in self._servers:
            look = self._looks.get(server)
            if look is None:
                look = self._looks[server] = self._started(self._look(server))
            look.add_done_callback(lambda done: seconds.setdefault(done, now() - started))
            looks.append(look)
        given_up_at, late = started + patience.total_seconds(), set(looks)
        while late and (left_s := given_up_at - now()) > 0:
            done, late = await asyncio.wait(
                late, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
            )
            if any(not each.exception() for each in done):
                given_up_at = min(given_up_at, now() + grace.total_seconds())
        return [
            _server_tip(server, look, seconds.get(look, now() - started))
            for server, look in zip(self._servers, looks, strict=True)
        ]

    async def block(self, seqno: int) -> Block:
        """Return the masterchain block `seqno`."""

        async def call(client: TonlibClient) -> Json:
            return await _header(client, await client.lookup_block(_MASTERCHAIN, _SHARD, seqno))

        return _block(await self._read("block", call, seqno))

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
            answer = await self._read("account", call, block.seqno)
        data = base64.b64decode(answer["data"]) if answer.get("data") else None
        last = answer.get("last_transaction_id") or {}
        return Account(
            max(0, int(answer["balance"])), data, int(last.get("lt", 0)), last.get("hash", "")
        )

    async def accounts(self, addresses: Sequence[RawAddress], block: Block) -> list[Account]:
        """Return many accounts at one block, in the order asked for."""
        room = asyncio.Semaphore(_OF_ONE_CALLER)

        async def one(address: RawAddress) -> Account:
            async with room:
                return await self.account(address, block)

        return list(await asyncio.gather(*map(one, addresses)))

    async def readable(
        self, addresses: Sequence[RawAddress], block: Block, *, at_once: int = _OF_ONE_CALLER
    ) -> list[Account | Transient]:
        """Return many accounts, or in the place of one why it could not be read."""
        room = asyncio.Semaphore(at_once)

        async def one(address: RawAddress) -> Account | Transient:
            async with room:
                try:
                    return await self.account(address, block)
                except (ChainUnreachable, BlockUnknown) as error:
                    return error

        return list(await asyncio.gather(*map(one, addresses)))

    async def config_parameter(self, number: int, block: Block) -> bytes:
        """Return a parameter of the network's configuration at `block`; tonlib checks its proof."""
        asked = {"@type": "getConfigParam", "mode": 0, "param": number}
        request = {"@type": "withBlock", "id": _block_id(block), "function": asked}

        async def call(client: TonlibClient) -> Json:
            answer: Json = await client.tonlib_wrapper.execute(
                dict(request), timeout=client.tonlib_timeout
            )
            return answer

        answer = await self._read("config", call, block.seqno)
        return base64.b64decode(answer["config"]["bytes"])

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
                    int(each["transaction_id"]["lt"]),
                    base64.b64decode(each["data"]),
                    spent_nano(each),
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
        forgotten = False

        async def call(client: TonlibClient) -> Json:
            nonlocal forgotten
            try:
                answer: Json = await client.tonlib_wrapper.execute(
                    dict(request), timeout=client.tonlib_timeout
                )
            except TonlibException as error:
                forgotten = forgotten or _FORGOTTEN in str(error)
                raise
            return answer

        try:
            return await self._read("transactions", call)
        except (ChainUnreachable, BlockUnknown):
            # Whatever the others say: a dead one fails last, and would hide it for ever.
            if forgotten:
                raise HistoryForgotten(
                    f"no lite server has the transactions of {address} up to {lt} any more"
                ) from None
            raise

    async def send(self, boc: bytes) -> SendResult:
        """Hand a message to every lite server; return with the first that accepts it.

        The fastest may refuse what another takes.
        """
        sends = [self._started(self._send_to(server, boc)) for server in self._servers]
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

    async def _send_to(self, server: LiteClient, boc: bytes) -> SendResult:
        async def call(client: TonlibClient) -> Json:
            answer: Json = await client.raw_send_message(boc)
            return answer

        try:
            async with asyncio.timeout(self._send_timeout.total_seconds()):
                await server.ask("send", call)
        except ExternalMessageNotAccepted as error:
            return SendResult(SendOutcome.REJECTED, str(error).strip().partition("\n")[0][:300])
        except (LaurelError, TimeoutError) as error:
            return SendResult(SendOutcome.UNKNOWN, str(error)[:300] or "no answer in time")
        return SendResult(SendOutcome.ACCEPTED)

    def _polled(self) -> list[LiteClient]:
        """Return who is asked for the newest block now: the best, and whoever was not for long."""
        now = asyncio.get_running_loop().time()
        for server in self._looks:  # of former turns
            server.score.late(TIP, now - server.looked_at)
        ranked = sorted(
            self._servers,
            key=lambda server: (server.behind > FAR_BEHIND, server.score.cost_s(TIP, now)),
        )
        others = ranked[self._at_each_turn :]
        due = [server for server in others if now - server.looked_at >= _LOOK_EVERY_S]
        return ranked[: self._at_each_turn] + due

    async def _look_at(
        self, polled: Iterable[LiteClient], patience_s: float
    ) -> ChainUnreachable | BlockUnknown | None:
        """Ask servers for their newest blocks; return None once one has answered, else why not."""
        now = asyncio.get_running_loop().time
        started = now()
        fresh, looks = list[asyncio.Task[Block]](), dict[asyncio.Task[Block], LiteClient]()
        for server in polled:
            look = self._looks.get(server)
            if look is None:
                look = self._looks[server] = self._started(self._look(server))
                fresh.append(look)
            looks[look] = server
        failure: ChainUnreachable | BlockUnknown | None = None
        block: Block | None = None
        while block is None and looks and (left_s := started + patience_s - now()) > 0:
            block, failed = await _next_done(looks, left_s)
            failure = failed or failure
            looks = {look: server for look, server in looks.items() if not look.done()}
        if block is None:
            for server in looks.values():
                server.score.late(TIP, patience_s)
            return failure or ChainUnreachable("no lite server says in time what is newest")
        if late := [look for look in fresh if not look.done()]:
            await asyncio.wait(late, timeout=max(_GRACE_S, 2 * (now() - started)))
        return None

    async def _look(self, server: LiteClient) -> Block:
        async def call(client: TonlibClient) -> Json:
            # `sync` proves the block by validators' signatures from the configured one on;
            # getMasterchainInfo only repeats hearsay.
            return await _header(client, await client.sync_tonlib())

        server.looked_at = asyncio.get_running_loop().time()
        try:
            block = _block(await server.ask(TIP, call))
        except (ChainUnreachable, BlockUnknown) as error:
            metrics.RETRIES.labels(f"liteserver_{TIP}", error.code).inc()
            self._show(server, up=False)
            raise
        finally:
            del self._looks[server]
        if server.tip is None or block.seqno > server.tip.seqno:
            server.tip = block
        was, server.behind = server.behind, self._newest_seqno() - block.seqno
        grew = server.behind > FAR_BEHIND >= was
        if grew and _said.left_out(server.place) is not None:
            log.warning("lite_server_behind", server=server.place, blocks=server.behind)
        self._show(server, up=True)
        return block

    def _newest_seqno(self) -> int:
        return max(each.tip.seqno for each in self._servers if each.tip is not None)

    def _show(self, server: LiteClient, *, up: bool) -> None:
        """Show how a server is; one that is silent falls behind with each block of the others."""
        metrics.LITE_SERVER_UP.labels(server.place).set(up)
        if server.tip is not None:
            behind = self._newest_seqno() - server.tip.seqno
            metrics.LITE_SERVER_BLOCKS_BEHIND.labels(server.place).set(behind)

    async def _read(self, kind: str, call: Call, seqno: int = 0) -> Json:
        """Return the answer of whichever server gives one first.

        Args:
            kind: what is asked for, as scored.
            call: the question.
            seqno: of the block that it is about, where it is about one.

        Raises:
            ChainUnreachable, BlockUnknown: none gives one.
        """
        now = asyncio.get_running_loop().time
        given_up_at = now() + ANSWER_TIMEOUT_S
        pause_s = 0.05
        failure: ChainUnreachable | BlockUnknown | None = None
        for _ in range(_ROUNDS):
            answer, failure = await self._round(kind, call, seqno)
            if answer is not None:
                went_on()
                return answer
            if now() >= given_up_at:
                break
            # a block that nobody has yet, say
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - no secret
            pause_s = min(2 * pause_s, 2.0)
        raise failure or ChainUnreachable("no lite server answers")

    async def _round(
        self, kind: str, call: Call, seqno: int
    ) -> tuple[Json | None, ChainUnreachable | BlockUnknown | None]:
        """Ask one server after the other, the next one as soon as one fails or is late."""
        now = asyncio.get_running_loop().time

        def rank(server: LiteClient) -> tuple[bool, float]:
            lacks_it = server.tip is not None and server.tip.seqno < seqno
            return lacks_it, server.score.cost_s(kind, now())

        line = sorted(self._servers, key=rank)
        newest = line[0]
        asked = list[asyncio.Task[Json]]()
        failure: ChainUnreachable | BlockUnknown | None = None
        while line or asked:
            patience_s = None
            if line:
                newest = line.pop(0)
                asked.append(self._started(newest.ask(kind, call)))
                if line:
                    usual_s = newest.score.usual_s(kind) or 0.0
                    patience_s = min(max(_PATIENCE_MIN_S, 3 * usual_s), _PATIENCE_MAX_S)
            answer, failed = await _next_done(asked, patience_s)
            if answer is not None:
                return answer, None
            asked = [each for each in asked if not each.done()]
            if failed is None and patience_s is not None:
                newest.score.late(kind, patience_s)
            failure = failed or failure
            metrics.RETRIES.labels(f"liteserver_{kind}", failed.code if failed else "late").inc()
        return None, failure

    def _started(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # retrieved, so that an error that nobody waits for any more is not reported as lost
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task


def _server_tip(server: LiteClient, look: asyncio.Task[Block], seconds: float) -> ServerTip:
    if not look.done() or look.cancelled():
        return ServerTip(server.place, None, f"no proven block within {seconds:.0f} s", seconds)
    error = look.exception()
    if isinstance(error, LaurelError):
        return ServerTip(server.place, None, error.message, seconds)
    return ServerTip(server.place, look.result(), "", seconds)


async def _next_done(
    tasks: Iterable[asyncio.Task[Result]], timeout_s: float | None
) -> tuple[Result | None, ChainUnreachable | BlockUnknown | None]:
    """Wait for one of `tasks`; return its result, else its error, else (not in time) neither."""
    done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    failure: ChainUnreachable | BlockUnknown | None = None
    for task in done:
        try:
            return task.result(), None
        except (ChainUnreachable, BlockUnknown) as error:
            failure = error
    return None, failure


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

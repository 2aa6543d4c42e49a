"""One lite server: the client that talks to it, how it answers, and the newest block it proved.

A TonlibClient talks to one lite server and never recovers once it is `stuck` or `crashed`; it is
then thrown away and made anew. Each has threads of its own: it keeps one busy for good, and the
event loop's few would not do for a global config's twenty servers.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pytonlib import TonlibClient
from pytonlib.tonlibjson import (
    BlockDeleted,
    BlockNotFound,
    ExternalMessageNotAccepted,
    TonlibException,
)

from minter.ton.gateway import BlockUnknown, ChainUnreachable
from minter.ton.global_config import SETTING, Json, place
from minter.ton.server_scores import ServerScore
from minter.ton.values import Block
from ops.errors import UsageError
from ops.logs import logger
from ops.sparing import OnceAMinute

log = logger("liteserver")
_said = OnceAMinute()

Call = Callable[[TonlibClient], Coroutine[Any, Any, Json]]
Result = TypeVar("Result")

ANSWER_TIMEOUT_S = 10.0  # pytonlib's own default: it raises TonlibNoResponse then


class _ClientLoop:
    """The running event loop as pytonlib uses it, with threads for one client."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # one that waits for answers, one that hands questions over
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="tonlib")

    def create_task(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        return self._loop.create_task(work)

    def create_future(self) -> "asyncio.Future[Any]":
        return self._loop.create_future()

    def run_in_executor(
        self, _executor: None, work: Callable[[], Result]
    ) -> "asyncio.Future[Result]":
        running = self._loop.run_in_executor(self._threads, work)
        # pytonlib does not wait for what it sends, and a client may be closed meanwhile
        running.add_done_callback(_looked_at)
        return running

    def close(self) -> None:
        self._threads.shutdown(wait=False)


class LiteClient:
    """One lite server. Its client is made when it is first needed.

    Attributes:
        score: how it answers.
        tip: the newest block that it proved.
        behind: how many blocks it was behind the newest one known, when it was last asked.
        looked_at: when it was last asked for its newest block, on the event loop's clock.
    """

    def __init__(self, config: Json, index: int, keystore: str) -> None:
        self._config = config
        self._index = index
        self._keystore = keystore
        self._client: TonlibClient | None = None
        self._loop: _ClientLoop | None = None
        self._making = asyncio.Lock()
        self.place = place(config["liteservers"][index])
        self.score = ServerScore()
        self.tip: Block | None = None
        self.behind = 0
        self.looked_at = float("-inf")

    async def ask(self, kind: str, call: Call) -> Json:
        """Run one call, and score its answer.

        Raises:
            ChainUnreachable, BlockUnknown: in place of pytonlib's errors;
            ExternalMessageNotAccepted passes, for a send.
        """
        now = asyncio.get_running_loop().time
        started = now()
        self.score.asked(kind)
        try:
            answer = await self._answer(call)
        except (ExternalMessageNotAccepted, BlockUnknown):
            # An answer, too: it refuses, or lags.
            self.score.answered(kind, now() - started, now())
            raise
        except BaseException:
            self.score.failed(kind, now())
            raise
        self.score.answered(kind, now() - started, now())
        return answer

    async def close(self) -> None:
        """Close the client, if there is one."""
        client, self._client = self._client, None
        loop, self._loop = self._loop, None
        if client is not None:
            await client.close()
        if loop is not None:
            loop.close()

    async def _answer(self, call: Call) -> Json:
        client = await self._ready()
        # Shielded: pytonlib's expiry loop dies on a future that its caller cancelled, and with it
        # every later timeout.
        inner = asyncio.ensure_future(call(client))
        inner.add_done_callback(_looked_at)
        try:
            return await asyncio.shield(inner)
        except ExternalMessageNotAccepted:
            raise
        except (BlockNotFound, BlockDeleted) as error:
            raise BlockUnknown(
                f"the lite server at {self.place} lacks a block: {error}", server=self.place
            ) from None
        except (TonlibException, RuntimeError, OSError) as error:
            await self._drop_if_dead(client)
            reason = str(error).strip() or type(error).__name__
            raise ChainUnreachable(
                f"the lite server at {self.place} does not answer: {reason}", server=self.place
            ) from None

    async def _ready(self) -> TonlibClient:
        async with self._making:
            if self._client is None:
                loop = _ClientLoop()
                try:
                    client = TonlibClient(
                        self._index,
                        self._config,
                        self._keystore,
                        loop=loop,
                        tonlib_timeout=ANSWER_TIMEOUT_S,
                    )
                except OSError as error:  # the keystore was taken away meanwhile
                    loop.close()
                    raise ChainUnreachable(f"tonlib cannot start: {error}") from None
                try:
                    await client.init()
                except (TonlibException, RuntimeError) as error:
                    await client.close()
                    loop.close()
                    if "INVALID_CONFIG" in str(error):
                        raise UsageError(
                            f"{SETTING}: tonlib refuses the global config: {error}.",
                            setting=SETTING,
                        ) from None
                    raise ChainUnreachable(
                        f"the lite server at {self.place}: tonlib did not start: {error}"
                    ) from None
                self._client, self._loop = client, loop
            return self._client

    async def _drop_if_dead(self, client: TonlibClient) -> None:
        wrapper = client.tonlib_wrapper
        # pytonlib has no public word for it; the attribute is the one its own methods check.
        if (
            client is self._client
            and wrapper is not None
            and wrapper._state in ("stuck", "crashed")  # noqa: SLF001
        ):
            # Again and again where the server stays away.
            if _said.left_out(self.place) is not None:
                state = wrapper._state  # noqa: SLF001
                log.warning("client_rebuilt", server=self.place, state=state)
            await self.close()


def _looked_at(inner: "asyncio.Future[Any]") -> None:
    if not inner.cancelled():
        # retrieved, so that an answer nobody waits for any more is not reported as lost
        inner.exception()

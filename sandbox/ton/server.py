"""The lite server.

Takes a query, finds who answers it, and puts what went wrong into a lite server's words.

Not here yet: `runSmcMethod` and `getLibraries`, which libtonlibjson does not need (it runs getters
itself). A class with a `methods` table beside the two that exist is all it takes.
"""

import asyncio
from collections.abc import Mapping

from ops.logs import logger
from sandbox.ton.answers import (
    NOT_FOUND,
    PROTOCOL,
    REFUSED,
    TIMED_OUT,
    BlockAnswers,
    BlockFinder,
    Method,
    QueryError,
)
from sandbox.ton.chain import Chain
from sandbox.ton.evidence import Evidence, StateGone
from sandbox.ton.history import HistoryAnswers
from sandbox.ton.tl import TlError, TlObject, lite_api

log = logger("ton.server")

_POLL_SECONDS = 0.02


class LiteServer:
    """Answers the queries about one chain; `answer` is the handler of an AdnlServer."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        evidence, find = Evidence(chain), BlockFinder(chain)
        self._methods: Mapping[str, Method] = {
            **BlockAnswers(chain, evidence, find).methods,
            **HistoryAnswers(chain, evidence, find).methods,
        }

    async def answer(self, data: bytes) -> bytes:
        """Return the answer to a `liteServer.query`, both as TL.

        Whatever is wrong with it becomes a `liteServer.error`.
        """
        try:
            return lite_api().serialize(await self._answered(data))
        except QueryError as error:
            code, message = error.code, error.message
        except TlError as error:
            code, message = PROTOCOL, str(error)
        except StateGone as error:
            code, message = NOT_FOUND, str(error)
        log.info("query_refused", code=code, reason=message)
        return lite_api().serialize({"@type": "liteServer.error", "code": code, "message": message})

    async def _answered(self, data: bytes) -> TlObject:
        query = lite_api().deserialize(data)
        if query["@type"] != "liteServer.query":
            raise QueryError(PROTOCOL, f"expected liteServer.query, got {query['@type']}")
        request, rest = lite_api().read(query["data"])
        if request["@type"] == "liteServer.waitMasterchainSeqno":
            await self._wait_for(request["seqno"], request["timeout_ms"] / 1000)
            request, rest = lite_api().read(rest)
        if rest:
            raise QueryError(PROTOCOL, "bytes are left after the query")
        method = self._methods.get(request["@type"])
        if method is None:
            raise QueryError(REFUSED, f"unsupported query {request['@type']}")
        return method(request)

    async def _wait_for(self, seqno: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._chain.last.id.seqno < seqno:  # noqa: ASYNC110 - a poll keeps the chain free of event loops
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise QueryError(TIMED_OUT, f"timeout waiting for masterchain block {seqno}") from None

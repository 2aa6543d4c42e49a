"""What a network's owner may ask of it from another process: money, time, blocks.

HTTP with JSON, on loopback unless told otherwise.

    GET  /status                                                   -> Status POST /fund
    {"address": "0:...", "amount_nano": 1}    -> Status, once the money has arrived POST
    /advance-clock  {"seconds": 60}                           -> Status, after a block with the new
    time POST /produce                                                  -> Status, after a block
    more

What is refused is {"code", "message"} with 400 (a bad request) or 503 (it may work if tried again).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from aiohttp import web

from ops.errors import LaurelError, Transient, UsageError
from sandbox.ton.network import TonNetwork

# What a block's time can hold; also keeps out infinities and what is no number.
_SECONDS_MAX = 1 << 32

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Status:
    """Where a network stands."""

    # of the newest masterchain block; Unix seconds
    seqno: int
    utime: int
    # messages without a transaction yet
    waiting: int
    transactions: int
    # root hash of the masterchain's zero state, hexadecimal: which network this is
    zero_state: str


@asynccontextmanager
async def administered(network: TonNetwork, host: str, port: int) -> AsyncIterator[str]:
    """Serve the endpoints while the block runs; yield their base URL.

    Raises:
        OSError: the address is taken.
    """

    async def status(_request: web.Request) -> web.Response:
        return web.json_response(asdict(_status(network)))

    async def fund(request: web.Request) -> web.Response:
        body = await _body(request)
        address, amount = body.get("address"), body.get("amount_nano")
        if not isinstance(address, str) or not isinstance(amount, int) or isinstance(amount, bool):
            raise UsageError('/fund takes {"address": "<address>", "amount_nano": <integer>}.')
        await network.fund(address, amount)
        return await status(request)

    async def advance(request: web.Request) -> web.Response:
        seconds = (await _body(request)).get("seconds")
        if (
            not isinstance(seconds, int | float)
            or isinstance(seconds, bool)
            or not abs(seconds) < _SECONDS_MAX
        ):
            raise UsageError('/advance-clock takes {"seconds": <number>}.')
        network.advance(timedelta(seconds=seconds))
        return await produce(request)

    async def produce(request: web.Request) -> web.Response:
        await network.produce()
        return await status(request)

    app = web.Application(middlewares=[_explained])
    app.add_routes(
        [
            web.get("/status", status),
            web.post("/fund", fund),
            web.post("/advance-clock", advance),
            web.post("/produce", produce),
        ]
    )
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def _status(network: TonNetwork) -> Status:
    chain = network.chain
    return Status(
        seqno=chain.last.id.seqno,
        utime=chain.last.utime,
        waiting=chain.waiting,
        transactions=len(chain.transactions),
        zero_state=chain.zero.id.root_hash.hex(),
    )


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise UsageError(f"{request.path}: the body is no JSON: {error}.") from error
    if not isinstance(body, dict):
        raise UsageError(f"{request.path}: the body is no JSON object.")
    return body


@web.middleware
async def _explained(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except LaurelError as error:
        status = 503 if isinstance(error, Transient) else 400
        return web.json_response({"code": error.code, "message": error.message}, status=status)

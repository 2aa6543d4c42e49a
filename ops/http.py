"""/live, /ready and /metrics of a process.

/live fails when the process says of itself that it is stuck; /ready names what it waits for;
/metrics is Prometheus' text format.
"""

import errno
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ops.errors import UsageError
from ops.lifecycle import Readiness
from ops.logs import logger
from ops.metric_roles import Role, registry_of
from ops.setting_parts import HttpSettings

log = logger("http")


def _always() -> bool:
    return True


@asynccontextmanager
async def serving(
    settings: HttpSettings,
    readiness: Readiness,
    role: Role,
    live: Callable[[], bool] = _always,
) -> AsyncIterator[str]:
    """Serve the three endpoints while the block runs, with the metrics of `role`.

    Yield the base URL ("" where http is switched off).

    Raises:
        UsageError: the address is taken, or none of this machine's.
    """
    if not settings.enabled:
        yield ""
        return

    registry = registry_of(role)

    async def answer_live(_request: web.Request) -> web.Response:
        ok = live()
        return web.Response(status=200 if ok else 503, text="alive\n" if ok else "stuck\n")

    async def answer_ready(_request: web.Request) -> web.Response:
        body = json.dumps(
            {
                "ready": readiness.ready,
                "waits": readiness.waits,
                "degraded": readiness.degraded,
                "facts": readiness.facts,
            }
        )
        return web.Response(
            status=200 if readiness.ready else 503,
            text=body + "\n",
            content_type="application/json",
        )

    async def answer_metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.add_routes(
        [
            web.get("/live", answer_live),
            web.get("/ready", answer_ready),
            web.get("/metrics", answer_metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(
                f"LAUREL_HTTP__HOST, LAUREL_HTTP__PORT: cannot listen on {settings.host}:"
                f"{settings.port}: {_reason(error)}. Choose another port for each process on this "
                "host (0 takes any free one), or LAUREL_HTTP__ENABLED=false."
            ) from error
        host, port = runner.addresses[0][:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info("http_listened", url=url)
        yield url
    finally:
        await runner.cleanup()


def _reason(error: OSError) -> str:
    """Return the reason without the address, which asyncio repeats."""
    if error.errno == errno.EADDRINUSE:
        return "another process listens there"
    return error.strerror or str(error)

"""A host that serves tokens' metadata on this machine, as a test says."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from sandbox.ports import reserved

SOUND = {
    "name": "Explorer",
    "description": "Ten cities",
    "image": "https://badges.mine/explorer.png",
}


class MetadataHost:
    """Answers with a document for any path; `others` have an answer of their own by path."""

    def __init__(self) -> None:
        self.base_url = ""
        self.asked: list[str] = []
        self.document: Any = SOUND
        self.others: dict[str, Callable[[], web.Response]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request."""
        self.asked.append(request.path)
        other = self.others.get(request.path)
        return web.json_response(self.document) if other is None else other()


@asynccontextmanager
async def a_metadata_host() -> AsyncIterator[MetadataHost]:
    """Run one while the block runs."""
    host = MetadataHost()
    app = web.Application()
    app.router.add_get("/{path:.*}", host.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    with reserved() as port:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host.base_url = f"http://127.0.0.1:{port}/metadata"
        try:
            yield host
        finally:
            await runner.cleanup()

"""A proxy that does to the startup packet what poolers do; all else it passes on."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import make_url

_PROTOCOL_3 = 196608


def without_options(packet: bytes) -> bytes:
    """Return the startup packet's parameters without `options`."""
    words = packet.rstrip(b"\0").split(b"\0")
    kept = [
        word
        for name, value in zip(words[::2], words[1::2], strict=True)
        if name != b"options"
        for word in (name, value)
    ]
    return b"\0".join(kept) + b"\0\0"


@asynccontextmanager
async def dropping_options(database_url: str) -> AsyncIterator[str]:
    """Yield the URL of a proxy that drops the options of every session."""
    url = make_url(database_url)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            length, code = struct.unpack("!ii", await reader.readexactly(8))
            body = await reader.readexactly(length - 8)
            if code >> 16 == _PROTOCOL_3 >> 16:
                break
            writer.write(b"N")  # neither TLS nor GSSAPI
        to_read, to_write = await asyncio.open_connection(url.host, url.port)
        kept = without_options(body)
        to_write.write(struct.pack("!ii", len(kept) + 8, code) + kept)
        await asyncio.gather(pass_on(reader, to_write), pass_on(to_read, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        through = url.set(host="127.0.0.1", port=port).update_query_dict({"gssencmode": "disable"})
        yield through.render_as_string(hide_password=False)

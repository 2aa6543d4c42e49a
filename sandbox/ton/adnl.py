"""ADNL over TCP, the server's side.

An encrypted, checksummed stream of frames that carry queries and answers.

The client opens with 256 bytes: which key it expects, its own key, and the session's keys encrypted
under the shared secret. After that both directions are AES-CTR streams. What a query means is the
handler's business (sandbox/ton/server.py).
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from hashlib import sha256

from Cryptodome.Cipher import AES
from nacl.bindings import crypto_scalarmult, crypto_sign_ed25519_pk_to_curve25519
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from ops.logs import logger
from sandbox.ton.tl import TlError, TlObject, lite_api

Handler = Callable[[bytes], Awaitable[bytes | None]]

log = logger("ton.adnl")

_PUBLIC_KEY_ED25519 = (0x4813B4C6).to_bytes(4, "little")  # TL id of pub.ed25519
_HANDSHAKE_BYTES = 256
_FRAME_OVERHEAD = 64  # a nonce before the payload, a checksum behind it
_FRAME_BYTES_MAX = 1 << 24
_NONCE_BYTES = 256


class ProtocolError(Exception):
    """The peer broke the rules of the transport; the connection ends."""


def key_id(public_key: bytes) -> bytes:
    """Return the 32-byte short id of an Ed25519 key, by which peers and signers are named."""
    return sha256(_PUBLIC_KEY_ED25519 + public_key).digest()


class Cipher:
    """One direction of a session: AES-256 in counter mode."""

    def __init__(self, key: bytes, initial_value: bytes) -> None:
        self._cipher = AES.new(key, AES.MODE_CTR, initial_value=initial_value, nonce=b"")

    def apply(self, data: bytes) -> bytes:
        """Encrypt or decrypt the next bytes of the stream (the same operation)."""
        return bytes(self._cipher.encrypt(data))


def handshake_cipher(shared_secret: bytes, digest: bytes) -> Cipher:
    """Return the cipher that hides the session's 160 random bytes inside the handshake."""
    return Cipher(shared_secret[:16] + digest[16:32], digest[:4] + shared_secret[20:32])


def frame(payload: bytes) -> bytes:
    """Return `payload` as a frame in clear: length, nonce, payload, checksum."""
    body = os.urandom(32) + payload
    return (len(body) + 32).to_bytes(4, "little") + body + sha256(body).digest()


def frame_payload(body: bytes) -> bytes:
    """Return the payload of a frame's body (all behind the length).

    Raises:
        ProtocolError: the checksum is wrong.
    """
    if sha256(body[:-32]).digest() != body[-32:]:
        raise ProtocolError("a frame with a wrong checksum")
    return body[32:-32]


class Connection:
    """One client after its handshake."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        session: bytes,
        handler: Handler,
    ) -> None:
        self._reader, self._writer, self._handler = reader, writer, handler
        self._outgoing = Cipher(session[0:32], session[64:80])
        self._incoming = Cipher(session[32:64], session[80:96])
        self._answers: set[asyncio.Task[None]] = set()
        self._nonce = b""

    async def serve(self) -> None:
        """Answer packets until the client leaves.

        Raises:
            ProtocolError: a packet broke the rules.
            asyncio.IncompleteReadError: the client left.
        """
        self._send(b"")  # an empty frame tells the client that its handshake was understood
        try:
            while True:
                payload = await self._receive()
                if payload:
                    self._take(lite_api().deserialize(payload))
        finally:
            for answer in self._answers:
                answer.cancel()

    async def _receive(self) -> bytes:
        size = int.from_bytes(self._incoming.apply(await self._reader.readexactly(4)), "little")
        if not _FRAME_OVERHEAD <= size <= _FRAME_BYTES_MAX:
            raise ProtocolError(f"a frame of {size} bytes")
        return frame_payload(self._incoming.apply(await self._reader.readexactly(size)))

    def _send(self, payload: bytes) -> None:
        self._writer.write(self._outgoing.apply(frame(payload)))

    def _say(self, packet: TlObject) -> None:
        self._send(lite_api().serialize(packet))

    def _take(self, packet: TlObject) -> None:
        match packet["@type"]:
            case "tcp.ping":
                self._say({"@type": "tcp.pong", "random_id": packet["random_id"]})
            case "tcp.authentificate":
                own = os.urandom(_NONCE_BYTES)
                self._nonce = packet["nonce"] + own
                self._say({"@type": "tcp.authentificationNonce", "nonce": own})
            case "tcp.authentificationComplete":
                # libtonlibjson proves a throw-away key: whoever it is may read, but it must own
                # what it claims.
                try:
                    VerifyKey(packet["key"]["key"]).verify(self._nonce, packet["signature"])
                except BadSignatureError as error:
                    raise ProtocolError("an authentication with a wrong signature") from error
            case "adnl.message.query":
                answer = asyncio.create_task(self._answer(packet["query_id"], packet["query"]))
                self._answers.add(answer)
                answer.add_done_callback(self._answered)
            case other:
                raise ProtocolError(f"an unexpected packet {other}")

    def _answered(self, answer: asyncio.Task[None]) -> None:
        self._answers.discard(answer)
        if not answer.cancelled() and (error := answer.exception()) is not None:
            log.error("answer_failed", exc_info=error, code=getattr(error, "code", "unknown"))
            self._writer.close()  # so that the client learns of it now, and not by a timeout

    async def _answer(self, query_id: bytes, query: bytes) -> None:
        answer = await self._handler(query)
        if answer is None or self._writer.is_closing():
            return
        self._say({"@type": "adnl.message.answer", "query_id": query_id, "answer": answer})
        try:
            await self._writer.drain()
        except ConnectionError:
            log.debug("client_left_before_its_answer")


class AdnlServer:
    """Listens, shakes hands, and hands each query to `handler`, whose answer goes back.

    None is no answer at all.
    """

    def __init__(self, key: SigningKey, handler: Handler) -> None:
        self._handler = handler
        self.public_key = bytes(key.verify_key)
        self._private_x25519 = bytes(key.to_curve25519_private_key())
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        """Listen on `host`:`port`.

        Raises:
            OSError: the address is taken.
        """
        self._server = await asyncio.start_server(self._accept, host, port)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            session = self._session(await reader.readexactly(_HANDSHAKE_BYTES))
            await Connection(reader, writer, session, self._handler).serve()
        except (ProtocolError, TlError) as error:
            log.warning("connection_refused", reason=str(error))
        except (asyncio.IncompleteReadError, ConnectionError):
            log.debug("client_left")
        finally:
            writer.close()

    def _session(self, handshake: bytes) -> bytes:
        """Return the 160 random bytes that the client chose for this session.

        Raises:
            ProtocolError: meant for another server, or damaged.
        """
        if handshake[:32] != key_id(self.public_key):
            raise ProtocolError("a handshake for another server's key")
        digest = handshake[64:96]
        try:
            peer = crypto_sign_ed25519_pk_to_curve25519(handshake[32:64])
        except RuntimeError as error:
            raise ProtocolError("a handshake with an impossible key") from error
        shared = bytes(crypto_scalarmult(self._private_x25519, peer))
        session = handshake_cipher(shared, digest).apply(handshake[96:])
        if sha256(session).digest() != digest:
            raise ProtocolError("a handshake with a wrong digest")
        return session

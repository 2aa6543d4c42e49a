"""The transport, spoken to by a client of the test's own.

So both directions are held to the written protocol.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256

import pytest
import pytest_asyncio
from nacl.bindings import crypto_scalarmult, crypto_sign_ed25519_pk_to_curve25519
from nacl.signing import SigningKey

from sandbox.ports import reserved
from sandbox.ton.adnl import AdnlServer, Cipher, frame, frame_payload, handshake_cipher, key_id
from sandbox.ton.tl import TlObject, lite_api

SERVER_KEY = SigningKey(b"\x07" * 32)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    outgoing: Cipher
    incoming: Cipher

    async def send(self, payload: bytes) -> None:
        self.writer.write(self.outgoing.apply(frame(payload)))
        await self.writer.drain()

    async def say(self, packet: TlObject) -> None:
        await self.send(lite_api().serialize(packet))

    async def receive(self) -> bytes:
        size = int.from_bytes(self.incoming.apply(await self.reader.readexactly(4)), "little")
        return frame_payload(self.incoming.apply(await self.reader.readexactly(size)))

    async def hear(self) -> TlObject:
        return lite_api().deserialize(await self.receive())

    async def is_hung_up(self) -> bool:
        gone = await self.reader.read(1) == b""
        self.writer.close()
        return gone


def handshake(server_public: bytes, session: bytes, *, digest: bytes | None = None) -> bytes:
    key = SigningKey.generate()
    secret = bytes(key.to_curve25519_private_key())
    shared = crypto_scalarmult(
        secret, crypto_sign_ed25519_pk_to_curve25519(bytes(SERVER_KEY.verify_key))
    )
    digest = digest or sha256(session).digest()
    hidden = handshake_cipher(bytes(shared), digest).apply(session)
    return key_id(server_public) + bytes(key.verify_key) + digest + hidden


class Echo:
    """Answers at once, but "slow" only once it is asked to "go on"."""

    def __init__(self) -> None:
        self._asked_to_go_on = asyncio.Event()

    async def __call__(self, query: bytes) -> bytes | None:
        if query == b"silence":
            return None
        if query == b"break":
            raise ValueError("a broken handler")
        if query == b"slow":
            await self._asked_to_go_on.wait()
        if query == b"go on":
            self._asked_to_go_on.set()
        return b"answer to " + query


@dataclass
class Listening:
    port: int
    server: AdnlServer

    async def connect(self, opening: bytes, session: bytes) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(opening)
        return Client(
            reader,
            writer,
            Cipher(session[32:64], session[80:96]),
            Cipher(session[:32], session[64:80]),
        )


@pytest_asyncio.fixture
async def listening() -> AsyncIterator[Listening]:
    server = AdnlServer(SERVER_KEY, Echo())
    with reserved() as port:
        await server.start("127.0.0.1", port)
    yield Listening(port, server)
    await server.close()


@pytest_asyncio.fixture
async def client(listening: Listening) -> AsyncIterator[Client]:
    session = os.urandom(160)
    client = await listening.connect(handshake(bytes(SERVER_KEY.verify_key), session), session)
    assert await client.receive() == b""
    yield client
    client.writer.close()
    await client.writer.wait_closed()


def query(query_id: bytes, content: bytes) -> TlObject:
    return {"@type": "adnl.message.query", "query_id": query_id, "query": content}


async def test_a_query_is_answered_under_its_id(client: Client) -> None:
    await client.say(query(b"\x05" * 32, b"hello"))
    assert await client.hear() == {
        "@type": "adnl.message.answer",
        "query_id": b"\x05" * 32,
        "answer": b"answer to hello",
    }


async def test_a_slow_answer_holds_up_no_other(client: Client) -> None:
    await client.say(query(b"\x01" * 32, b"slow"))
    await client.say(query(b"\x02" * 32, b"fast"))
    assert (await client.hear())["answer"] == b"answer to fast"
    await client.say(query(b"\x03" * 32, b"go on"))
    assert {(await client.hear())["answer"] for _ in range(2)} == {
        b"answer to go on",
        b"answer to slow",
    }


async def test_a_query_without_an_answer_gets_none(client: Client) -> None:
    await client.say(query(b"\x01" * 32, b"silence"))
    await client.say(query(b"\x02" * 32, b"after it"))
    assert (await client.hear())["query_id"] == b"\x02" * 32


async def test_a_ping_is_a_pong(client: Client) -> None:
    await client.say({"@type": "tcp.ping", "random_id": -77})
    assert await client.hear() == {"@type": "tcp.pong", "random_id": -77}


async def test_an_empty_frame_is_fine(client: Client) -> None:
    await client.send(b"")
    await client.say({"@type": "tcp.ping", "random_id": 1})
    assert (await client.hear())["@type"] == "tcp.pong"


async def authenticate(client: Client, key: SigningKey, signer: SigningKey) -> None:
    nonce = os.urandom(32)
    await client.say({"@type": "tcp.authentificate", "nonce": nonce})
    answer = await client.hear()
    assert answer["@type"] == "tcp.authentificationNonce"
    public = {"@type": "pub.ed25519", "key": bytes(key.verify_key)}
    signature = signer.sign(nonce + answer["nonce"]).signature
    await client.say(
        {"@type": "tcp.authentificationComplete", "key": public, "signature": signature}
    )
    await client.say({"@type": "tcp.ping", "random_id": 2})


async def test_a_client_proves_the_key_it_claims(client: Client) -> None:
    key = SigningKey.generate()
    await authenticate(client, key, key)
    assert (await client.hear())["@type"] == "tcp.pong"


async def test_a_client_with_a_wrong_signature_is_hung_up_on(client: Client) -> None:
    await authenticate(client, SigningKey.generate(), SigningKey.generate())
    assert await client.is_hung_up()


async def test_a_damaged_frame_is_hung_up_on(client: Client) -> None:
    damaged = bytearray(frame(b"hello"))
    damaged[-1] ^= 1
    client.writer.write(client.outgoing.apply(bytes(damaged)))
    assert await client.is_hung_up()


@pytest.mark.parametrize("size", [0, 63, (1 << 24) + 1])
async def test_a_frame_of_an_impossible_size_is_hung_up_on(client: Client, size: int) -> None:
    client.writer.write(client.outgoing.apply(size.to_bytes(4, "little")))
    assert await client.is_hung_up()


@pytest.mark.parametrize(
    "payload", [b"????", lite_api().serialize({"@type": "tcp.pong", "random_id": 1})]
)
async def test_an_unexpected_packet_is_hung_up_on(client: Client, payload: bytes) -> None:
    await client.send(payload)
    assert await client.is_hung_up()


async def test_a_handshake_for_another_key_is_hung_up_on(listening: Listening) -> None:
    session = os.urandom(160)
    client = await listening.connect(handshake(b"\x01" * 32, session), session)
    assert await client.is_hung_up()


async def test_a_handshake_with_a_wrong_digest_is_hung_up_on(listening: Listening) -> None:
    session = os.urandom(160)
    opening = handshake(bytes(SERVER_KEY.verify_key), session, digest=b"\x01" * 32)
    client = await listening.connect(opening, session)
    assert await client.is_hung_up()


async def test_a_failing_handler_ends_the_connection_at_once(client: Client) -> None:
    await client.say(query(b"\x01" * 32, b"break"))
    assert await client.is_hung_up()


async def test_closing_hangs_up_on_everybody(listening: Listening, client: Client) -> None:
    await listening.server.close()
    assert await client.is_hung_up()

"""The Kafka clients that producers use, and what their batches look like on the broker's disk."""

import asyncio
import json
import os
import shutil
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.kafka import DEFAULT_JARS, JARS_VARIABLE, java
from tests.e2e.workers import Site, a_producer
from tests.fixtures.parts import missing

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PLAIN, IDEMPOTENT, TRANSACTIONAL = "plain", "idempotent", "transactional"
STRUCTURED, BINARY = "structured", "binary"
MODES = (STRUCTURED, BINARY)
# One for all records of a client: they are in one partition, in their order.
KEY = "one-partition"


# The console producer reads no line without a header once it reads headers.
_SOME = [("made-by", "hand")]


class Message(NamedTuple):
    """A record as a client is given it."""

    headers: Sequence[tuple[str, str]]
    value: str


class BatchKind(NamedTuple):
    """What the head of a batch says of how it was produced."""

    codec: str
    delivery: str


@dataclass(frozen=True, slots=True)
class Order:
    """What a client is to send, with one codec and one way of delivery; `aborted` in a
    transaction of its own, before the others."""

    topic: str
    codec: str
    delivery: str
    messages: Sequence[Message]
    aborted: Sequence[Message] = ()


def written(event: Mapping[str, Any], mode: str, *, named: bool = True) -> Message:
    """An event as a record; `named` says whether a structured one declares its content type."""
    if mode == STRUCTURED:
        headers = [("content-type", "application/cloudevents+json")] if named else []
        return Message(headers, json.dumps(event))
    attributes = [(f"ce_{name}", str(value)) for name, value in event.items() if name != "data"]
    return Message([("content-type", "application/json"), *attributes], json.dumps(event["data"]))


async def by_librdkafka(site: Site, orders: Iterable[Order]) -> None:
    """Confluent's client for Python: librdkafka, as those of Go, .NET and Node.js are."""
    try:
        from confluent_kafka import Producer
    except ImportError:
        missing("confluent-kafka is not installed: it is one of the `dev` extra")

    def send(order: Order) -> None:
        settings = {
            "bootstrap.servers": site.brokers,
            "compression.type": order.codec,
            "enable.idempotence": order.delivery != PLAIN,
            "linger.ms": 20,
        }
        if order.delivery == TRANSACTIONAL:
            settings["transactional.id"] = f"librdkafka-{order.topic}-{order.codec}"
        producer = Producer(settings)

        def produce(messages: Sequence[Message]) -> None:
            for each in messages:
                headers: list[tuple[str, str | bytes | None]] = [*each.headers]
                producer.produce(order.topic, each.value, KEY, headers=headers)
            producer.flush()

        if order.delivery == TRANSACTIONAL:
            producer.init_transactions()
            producer.begin_transaction()
            produce(order.aborted)
            producer.abort_transaction()
            producer.begin_transaction()
            produce(order.messages)
            producer.commit_transaction()
        else:
            produce(order.messages)

    for order in orders:
        await asyncio.to_thread(send, order)


async def by_aiokafka(site: Site, orders: Iterable[Order]) -> None:
    """The client for asyncio."""
    for order in orders:
        options: dict[str, Any] = {
            "compression_type": None if order.codec == "none" else order.codec,
            "enable_idempotence": order.delivery == IDEMPOTENT,
        }
        if order.delivery == TRANSACTIONAL:
            options = options | {
                "enable_idempotence": True,
                "transactional_id": f"aiokafka-{order.topic}-{order.codec}",
            }
        async with a_producer(site, **options) as producer:

            async def produce(messages: Sequence[Message], topic: str = order.topic) -> None:
                sent = [
                    await producer.send(
                        topic,
                        each.value.encode(),
                        KEY.encode(),
                        headers=[(name, value.encode()) for name, value in each.headers],
                    )
                    for each in messages
                ]
                await asyncio.gather(*sent)

            if order.delivery == TRANSACTIONAL:
                await producer.begin_transaction()
                await produce(order.aborted)
                await producer.abort_transaction()
                await producer.begin_transaction()
                await produce(order.messages)
                await producer.commit_transaction()
            else:
                await produce(order.messages)


async def by_the_java_console(site: Site, orders: Iterable[Order]) -> None:
    """Kafka's own kafka-console-producer, without its shell script."""
    jars = Path(os.environ.get(JARS_VARIABLE) or DEFAULT_JARS)
    if not any(jars.glob("kafka-tools-[0-9]*.jar")):  # noqa: ASYNC240 - nothing else runs yet
        missing(f"kafka-tools is not among the jars in {jars}: `make kafka` fetches it")
    for order in orders:
        lines = [
            "\t".join(
                (
                    ",".join(f"{name}:{value}" for name, value in each.headers or _SOME),
                    KEY,
                    each.value,
                )
            )
            for each in order.messages
        ]
        await _run(
            *(str(java()), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            *("-cp", f"{jars}/*", "org.apache.kafka.tools.ConsoleProducer"),
            *("--bootstrap-server", site.brokers, "--topic", order.topic),
            *("--compression-codec", order.codec),
            *("--reader-property", "parse.headers=true", "--reader-property", "parse.key=true"),
            "--command-property",
            f"enable.idempotence={str(order.delivery == IDEMPOTENT).lower()}",
            lines=lines,
        )


async def by_kcat(site: Site, orders: Iterable[Order]) -> None:
    """kcat: its headers are those of all records of a run."""
    program = shutil.which("kcat")
    if program is None:
        missing("kcat is not installed (Debian: apt-get install kcat)")
    for order in orders:
        for each in order.messages:
            await _run(
                *(program, "-P", "-b", site.brokers, "-t", order.topic, "-z", order.codec),
                *("-X", f"enable.idempotence={str(order.delivery == IDEMPOTENT).lower()}"),
                *("-k", KEY),
                *(word for name, value in each.headers for word in ("-H", f"{name}={value}")),
                lines=[each.value],
            )


async def _run(*command: str, lines: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate("".join(f"{line}\n" for line in lines).encode())
    assert process.returncode == 0, said.decode()
    assert b"Exception" not in said, said.decode()  # the console producer says so and ends with 0


# Kafka's message format v2: a batch's head, after its base offset and its length.
_HEAD = struct.Struct(">iBIhiqqqhi")
_CONTROL, _TRANSACTIONAL, _CODEC = 0x20, 0x10, 0x07


def batches_on_disk(data: Path, topic: str) -> set[BatchKind]:
    """How the batches of a topic were produced, by the broker's own files."""
    found: set[BatchKind] = set()
    for segment in data.glob(f"{topic}-*/*.log"):
        content, at = segment.read_bytes(), 0
        while at + 12 + _HEAD.size <= len(content):
            _, length = struct.unpack_from(">qi", content, at)
            if length == 0:  # the rest is preallocated
                break
            attributes, producer = (head := _HEAD.unpack_from(content, at + 12))[3], head[7]
            if not attributes & _CONTROL:
                delivery = (
                    TRANSACTIONAL
                    if attributes & _TRANSACTIONAL
                    else PLAIN
                    if producer == -1
                    else IDEMPOTENT
                )
                found.add(BatchKind(CODECS[attributes & _CODEC], delivery))
            at += 12 + length
    return found

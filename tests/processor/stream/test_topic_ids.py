"""The one request that aiokafka does not have, on real brokers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from structlog.testing import capture_logs

from processor.stream.topic_ids import TopicIds
from tests.e2e.workers import until

if TYPE_CHECKING:
    from sandbox.broker import Broker


@asynccontextmanager
async def a_client(broker: "Broker", *topics: str) -> AsyncIterator[AIOKafkaClient]:
    """A client of a broker that has `topics`."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1) for topic in topics])
        yield admin._client
    finally:
        await admin.close()


async def test_each_topic_has_an_id_of_its_own_that_stays(
    any_broker: "Broker", topic_prefix: str
) -> None:
    names = {f"{topic_prefix}.{name}" for name in "ab"}
    async with a_client(any_broker, *names) as client:

        async def made() -> bool:  # a broker may hear of a topic after it is made
            return names <= await client_topics(client)

        await until(made, "topics that the broker knows")
        with capture_logs() as logs:
            first = await TopicIds().of(client, {*names, f"{topic_prefix}.absent"})
        assert first.keys() == names
        assert len(set(first.values()) - {UUID(int=0)}) == 2
        assert await TopicIds().of(client, names) == first
        assert f"{topic_prefix}.absent" not in await client_topics(client)
    assert logs == []


async def client_topics(client: AIOKafkaClient) -> set[str]:
    metadata: Any = await client.fetch_all_metadata()
    return set(metadata.topics())


async def test_a_broker_that_tells_no_ids_is_named_once(
    broker: "Broker", topic_prefix: str
) -> None:
    async with a_client(broker, topic_prefix) as client:
        await client.ready(client.get_random_node())
        for connection in client._conns.values():
            connection._versions[3] = (0, 8)  # what Kafka 2.7 says of its metadata
        ids = TopicIds()
        with capture_logs() as logs:
            assert await ids.of(client, [topic_prefix]) == {}
            assert await ids.of(client, [topic_prefix]) == {}
    assert [entry["event"] for entry in logs] == ["topic_ids_unknown"]


async def test_a_broker_that_does_not_answer_tells_none_for_now(topic_prefix: str) -> None:
    from sandbox import broker as tansu
    from sandbox.process import PartMissing
    from tests.fixtures.parts import missing

    try:
        with tansu.broker() as running:
            client = AIOKafkaClient(bootstrap_servers=running.address)
            await client.bootstrap()
    except PartMissing as error:
        missing(error.message)
    try:
        with capture_logs() as logs:
            assert await TopicIds().of(client, [topic_prefix]) == {}
        assert logs == []
    finally:
        await client.close()


@pytest.mark.parametrize("topics", [(), []])
async def test_of_no_topics_nobody_is_asked(topics: list[str]) -> None:
    """To ask for none of them would be to ask for all."""
    assert await TopicIds().of(None, topics) == {}

"""Ask a broker for the ids of topics: a topic that is deleted and made anew gets another one.

Kafka tells them in metadata of version 10 and later, and aiokafka asks for version 5: here is that
one request, built of aiokafka's own classes and sent by its connections.
tests/processor/stream/test_topic_ids.py holds what is leant on.
"""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from ops.logs import logger

# What Kafka says for an id that it does not have, or is not told.
_NO_ID = UUID(int=0)

log = logger("topics")


class _Uuid(AbstractType):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: Any) -> UUID:  # noqa: ANN401 - aiokafka's
        return UUID(bytes=data.read(16))


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("topic", CompactString()), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        named: list[tuple[UUID, str, dict[int, bytes]]] = [
            (_NO_ID, topic, {}) for topic in sorted(self._topics)
        ]
        return request_struct_class(named, False, False, False, {})


class TopicIds:
    """The ids of topics, as brokers tell them.

    A broker that knows none is named in the log once, and its topics have none.
    """

    def __init__(self) -> None:
        self._said = False

    async def of(self, client: AIOKafkaClient, topics: Collection[str]) -> Mapping[str, UUID]:
        """Return the ids of those of `topics` that have one now, of any broker that answers."""
        node = client.get_random_node() if topics else None
        if node is None:
            return {}
        try:
            answer = await client.send(node, _MetadataRequest(topics))
        except NotImplementedError:  # aiokafka, of a version that the broker does not know
            self._say()
            return {}
        except (KafkaError, TimeoutError):
            return {}  # the watchdog says so; they are asked for again
        found = {each[1]: each[2] for each in answer.topics if each[0] == 0}
        if found and _NO_ID in found.values():
            self._say()
        return {topic: id_ for topic, id_ in found.items() if id_ != _NO_ID}

    def _say(self) -> None:
        if not self._said:
            self._said = True
            log.warning(
                "topic_ids_unknown",
                reason="this Kafka tells no topic ids (2.8 and later do): a topic that is made "
                "anew is noticed by its offsets and timestamps alone",
            )

"""What the brokers let this client do: its rights to topics and to the group.

Without them a consumer waits for a group without a word, or dies in the first fetch. aiokafka knows
no request that brings them, so the two are here, by its own means (Kafka protocol, Metadata 8 and
DescribeGroups 3).
"""

from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    IncompatibleBrokerVersion,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataResponse_v5
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

# Kafka, AclOperation: of a set of operations this is the bit.
_READ = 1 << 3
# What an older broker, or none with an authorizer, gives in place of the set.
_UNKNOWN = -(2**31)
# A cluster makes the topic of its groups when the first client asks for one.
_NOT_THERE_YET = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
_COORDINATOR_BOUND_S = 10.0


_V5 = MetadataResponse_v5.SCHEMA
_HEAD = tuple(zip(_V5.names, _V5.fields, strict=True))[:4]  # all before the topics


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        *_HEAD,
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> Any:  # noqa: ANN401
        return request_struct_class(None, False, False, True)


class _GroupsRequestStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3  # aiokafka's own request reads an older answer
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class _GroupsRequest(Request[_GroupsRequestStruct]):  # type: ignore[misc]
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_GroupsRequestStruct]) -> Any:  # noqa: ANN401
        return request_struct_class([self._group], True)


async def unreadable(admin: AIOKafkaAdminClient) -> frozenset[str]:
    """Return the topics that this client sees and may not read."""
    try:
        answer = (await admin._send_request(_MetadataRequest())).to_object()  # noqa: SLF001 - see above
    except (NotImplementedError, IncompatibleBrokerVersion):
        return frozenset()
    return frozenset(each["topic"] for each in answer["topics"] if not _may_read(each))


async def may_join(admin: AIOKafkaAdminClient, group: str) -> bool:
    """Return whether this client may be in `group`.

    Raises:
        KafkaError: its coordinator is not there, for ten seconds.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(_NOT_THERE_YET),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(_COORDINATOR_BOUND_S),
        reraise=True,
    )
    allowed: bool = await retrying(_may_join, admin, group)
    return allowed


async def _may_join(admin: AIOKafkaAdminClient, group: str) -> bool:
    try:
        coordinator = await admin.find_coordinator(group)
        answer = (await admin._send_request(_GroupsRequest(group), coordinator)).to_object()  # noqa: SLF001
    except GroupAuthorizationFailedError:
        return False
    except (NotImplementedError, IncompatibleBrokerVersion):
        return True
    (found,) = answer["groups"]
    error = for_code(found["error_code"])
    if error is GroupAuthorizationFailedError:
        return False
    if found["error_code"]:
        raise error(f"group {group}")
    return _may_read(found)


def _may_read(found: Mapping[str, Any]) -> bool:
    operations: int = found["authorized_operations"]
    return operations in (_UNKNOWN, 0) or bool(operations & _READ)

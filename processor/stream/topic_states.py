"""How the brokers keep topics: partitions with their leader and copies, and settings of topics."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from ops.settings import Settings
from processor.stream.topics import administered

# What the configuration of a topic is asked for: it takes a right that others do not imply.
_MIN_IN_SYNC, _CLEANUP = "min.insync.replicas", "cleanup.policy"


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition.

    Args:
        number: which one of its topic.
        leader: the id of its broker; None where it has none.
        copies: how many brokers should have it.
        in_sync: how many of them have all of it.
    """

    number: int
    leader: int | None
    copies: int
    in_sync: int


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic.

    Args:
        name: with its prefix.
        partitions: by number.
        min_in_sync: of how many copies a producer with acks=all is sure; None: not told.
        is_compacted: whether the brokers keep only the newest record of a key; None: not told.
    """

    name: str
    partitions: tuple[PartitionState, ...]
    min_in_sync: int | None = None
    is_compacted: bool | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """The brokers by the addresses that clients are led to, and topics by name."""

    brokers: tuple[str, ...]
    topics: Mapping[str, TopicState]


async def survey(settings: Settings, names: Collection[str]) -> Survey:
    """Return how the brokers keep those of the topics `names` that there are.

    Raises:
        KafkaUnreachable: none answers.
    """
    async with administered(settings) as admin:
        described = await admin.describe_cluster()
        listed = [each for each in await admin.describe_topics() if each["topic"] in names]
        told = await _configurations(admin, [each["topic"] for each in listed])
    brokers = tuple(
        f"{each['host']}:{each['port']}"
        for each in sorted(described["brokers"], key=lambda each: int(each["node_id"]))
    )
    return Survey(
        brokers, {each["topic"]: _state(each, told.get(each["topic"], {})) for each in listed}
    )


async def _configurations(
    admin: AIOKafkaAdminClient, names: Collection[str]
) -> dict[str, dict[str, str]]:
    """Return the settings of topics; nothing of those whose this client may not see."""
    # All settings of a topic: Tansu ends the connection of who names some.
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not asked:
        return {}
    try:
        answers = await admin.describe_configs(asked)
    except (NotImplementedError, KafkaError):  # it is known of another request that brokers answer
        return {}
    return dict(_told(answers))


def _told(answers: Collection[Any]) -> Iterator[tuple[str, dict[str, str]]]:
    for answer in answers:
        for code, _message, _kind, name, entries in answer.resources:
            if code == 0:
                yield name, {entry[0]: entry[1] for entry in entries}


def _state(described: Mapping[str, Any], told: Mapping[str, str]) -> TopicState:
    partitions = [
        PartitionState(
            each["partition"],
            each["leader"] if each["leader"] >= 0 else None,
            len(each["replicas"]),
            len(each["isr"]),
        )
        for each in described["partitions"]
    ]
    return TopicState(
        described["topic"],
        tuple(sorted(partitions, key=lambda each: each.number)),
        int(told[_MIN_IN_SYNC]) if _MIN_IN_SYNC in told else None,
        "compact" in told[_CLEANUP] if _CLEANUP in told else None,
    )

"""What the group's coordinator and the topics' leaders deny a consumer, and whether it is over.

aiokafka keeps such an error, and coordinates nothing more, until somebody asks for it. Faust never
does: a worker whose group is denied to it, or speaks another protocol, would wait for ever without
a word. Here it is asked for, which has aiokafka try again; what is denied is told as a reason with
the way out, until the group has formed (watchdog.py). tests/processor/stream/test_group_watch.py
holds what is leant on.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaError,
)

from processor.stream.positions import PartitionPosition
from store.values.names import Partition


@dataclass(frozen=True, slots=True)
class GroupTrouble:
    """Why this consumer is not in its group.

    Args:
        reason: a sentence, with the way out where there is one.
        is_final: nobody tries again.
    """

    reason: str
    is_final: bool = False


class GroupWatch:
    """Asks aiokafka's coordinator for its errors; belongs to the consumer's thread.

    `trouble` is None where there is none.
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._assignment: object = None
        self.trouble: GroupTrouble | None = None

    def look(self, consumer: Any) -> GroupTrouble | None:  # noqa: ANN401 - aiokafka has no types
        """Take the coordinator's error, and have it join the group again; return what is wrong.

        An error is over with the next assignment: one of before may be left in the meantime.
        """
        coordinator, subscription = consumer._coordinator, consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        if consumer._closed or coordinator is None:
            return None
        try:
            coordinator.check_errors()
        except KafkaError as error:
            is_final = coordinator._coordination_task.done()
            self.trouble = GroupTrouble(self._reason(error), is_final)
            self._assignment = assignment
            # After an error of its own a heartbeat is not sent again before the next join.
            coordinator.request_rejoin()
        else:
            if assignment is not None and assignment is not self._assignment:
                self.trouble = None
        return self.trouble

    def _reason(self, error: KafkaError) -> str:
        match error:
            case GroupAuthorizationFailedError():
                way_out = (
                    f"Kafka denies this user the consumer group {self._group}: allow it the "
                    "operation Read on the group"
                )
            case InconsistentGroupProtocolError():
                way_out = (
                    f"the consumer group {self._group} has members that are no workers of Laurel "
                    "(another protocol or assignor): stop them, or name another group in "
                    "LAUREL_KAFKA__CONSUMER_GROUP"
                )
            case InvalidSessionTimeoutError():
                way_out = (
                    "Kafka does not take LAUREL_KAFKA__SESSION_TIMEOUT: the brokers' "
                    "group.min.session.timeout.ms and group.max.session.timeout.ms bound it"
                )
            case InvalidGroupIdError():
                way_out = (
                    f"Kafka takes no group called {self._group!r}: name another one in "
                    "LAUREL_KAFKA__CONSUMER_GROUP"
                )
            case _:
                return f"the coordinator of the consumer group {self._group} says: {error}"
        return f"{way_out} ({type(error).__name__})"


class DeniedTopics:
    """The topics whose leaders refuse to let this consumer fetch, until one answers again."""

    def __init__(self) -> None:
        # Topic -> when it was denied last (epoch, seconds).
        self._denied_at: dict[str, float] = {}

    def deny(self, topic: str, now: float) -> None:
        """Note that a fetch of `topic` was denied."""
        self._denied_at[topic] = now

    def among(self, positions: Mapping[Partition, PartitionPosition]) -> Collection[str]:
        """Return those that are read, and none of whose partitions has been answered since."""
        answered: dict[str, float] = {}
        for (topic, _), position in positions.items():
            answered[topic] = max(answered.get(topic, 0.0), position.answered_at)
        return {
            topic
            for topic, denied_at in self._denied_at.copy().items()
            if topic in answered and answered[topic] < denied_at
        }

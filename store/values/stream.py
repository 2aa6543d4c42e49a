"""What came by Kafka: how far a partition is counted, why it is paused, what a record was.

Pure.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from store.values.names import Partition

# The cluster under which files stand in the ledger: the name of each is a topic there.
FILES = "file"


def topic_label(cluster_id: str, topic: str) -> str:
    """Return what a metric calls a topic; the files are one, for their names are no closed set."""
    return FILES if cluster_id == FILES else topic


@dataclass(frozen=True, slots=True)
class RecordPosition:
    """One record's place in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """How far one partition is counted (offset_ledger).

    `last_offset` and `last_timestamp_ms` are those of the last record counted, None before the
    first: another record at that offset means another topic under the same name, and so does
    another `topic_id`, which is Kafka's (None: not known).
    """

    topic: str
    partition: int
    next_offset: int
    last_offset: int | None = None
    last_timestamp_ms: int | None = None
    topic_id: UUID | None = None

    @property
    def key(self) -> Partition:
        """Return topic and partition."""
        return self.topic, self.partition


class PauseReason(StrEnum):
    """Why a partition is not read on. Closed: a metric label, too."""

    RECORDS_REMOVED = "records_removed"
    TOPIC_ENDS_EARLY = "topic_ends_early"
    TOPIC_RECREATED = "topic_recreated"
    UNDECODABLE_BATCH = "undecodable_batch"
    REFUSED_BY_DATABASE = "refused_by_database"
    INVARIANT_BROKEN = "invariant_broken"


@dataclass(frozen=True, slots=True)
class PausedPartition:
    """A partition that is not read on before an operator decides (paused_partition).

    `offset` is the next record that is not counted, `detail` says to a person what is wrong, and
    `skip_to` is where counting could go on, where that is known. `topic_id` is that of a topic that
    was made anew: whoever skips takes it over.
    """

    topic: str
    partition: int
    offset: int
    reason: PauseReason
    detail: str
    skip_to: int | None = None
    topic_id: UUID | None = None

    @property
    def key(self) -> Partition:
        """Return topic and partition."""
        return self.topic, self.partition

    @property
    def way_out(self) -> str:
        """Return the commands that end the pause."""
        place = f"{self.topic} {self.partition}"
        to = "OFFSET" if self.skip_to is None else str(self.skip_to)
        return (
            f"Restore what is missing and run `laurel partitions resume {place}`; or, if the loss "
            f"is known and accepted, `laurel partitions skip {place} --to {to} --reason TEXT`."
        )


class PartitionAction(StrEnum):
    """What an operator decided about a partition."""

    RESUMED = "resumed"
    SKIPPED = "skipped"


class CommandType(StrEnum):
    """CloudEvents types of the commands that are carried out."""

    AWARD = "badge.award"
    MINT = "badge.mint"
    BURN = "badge.burn"
    REVOKE = "badge.revoke"


class Reason(StrEnum):
    """Why a message became a dead letter. Closed.

    A metric label, and what an operator filters by.
    """

    NO_VALUE = "no_value"
    NOT_JSON = "not_json"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    REFUSED_BY_DATABASE = "refused_by_database"
    CONTENT_TYPE = "content_type"
    BAD_ENVELOPE = "bad_envelope"
    BAD_SPECVERSION = "bad_specversion"
    BAD_SUBJECT = "bad_subject"
    BAD_TENANT = "bad_tenant"
    BAD_TIME = "bad_time"
    TOO_NEW = "too_new"
    TOO_OLD = "too_old"
    BAD_TEXT = "bad_text"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_TOPIC = "wrong_topic"
    BAD_DATA = "bad_data"
    MISSING_FIELD = "missing_field"
    NULL_FIELD = "null_field"
    BAD_FIELD = "bad_field"
    BAD_ADDRESS = "bad_address"
    EVENT_ID_CONFLICT = "event_id_conflict"
    UNSUPPORTED_COMMAND = "unsupported_command"
    EXTERNAL_ID_CONFLICT = "external_id_conflict"
    UNKNOWN_BADGE_TYPE = "unknown_badge_type"
    NO_SUCH_BADGE = "no_such_badge"
    NOT_ACTIVE = "not_active"
    POLICY_REJECTED = "policy_rejected"
    UNKNOWN_LEVEL = "unknown_level"
    NO_TOKEN = "no_token"  # noqa: S105 - a token on chain, no secret

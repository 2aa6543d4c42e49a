"""The words of the domain: enumerations and small records.

Pure, and of the standard library only, so that whatever is pure may import them.

The values are stored as text under CHECK constraints; tests/store/test_enums.py holds both equal.
docs/data-model.md explains each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import NewType
from uuid import UUID

TypeCode = NewType("TypeCode", str)
CounterName = NewType("CounterName", str)
# What is counted and compared, exact: never a float.
Number = int | Decimal
# A TON account in raw form, `workchain:64 hex digits`, lower case.
RawAddress = NewType("RawAddress", str)
# Marks the rows of one claim (nft_mint_queue.lease_token): who names it holds the lease.
LeaseToken = NewType("LeaseToken", UUID)
# user_id, type_id: whose badge, and of which type.
Holder = tuple[UUID, UUID]
# topic, partition: what Kafka keeps in order, and the ledger counts by.
Partition = tuple[str, int]


class Category(StrEnum):
    """What a badge type is about."""

    TRAVELER = "traveler"
    PRO_CREATOR = "pro_creator"
    RF_REPUTATION = "rf_reputation"
    REFERRAL = "referral"
    SYSTEM = "system"


class Rarity(StrEnum):
    """How rare a level is; ordered by `rank`."""

    COMMON = "common"
    UNCOMMON = "uncommon"
    RARE = "rare"
    EPIC = "epic"
    LEGENDARY = "legendary"

    @property
    def rank(self) -> int:
        """Return 0 for common up to 4 for legendary."""
        return list(Rarity).index(self)


class OnchainPolicy(StrEnum):
    """Whether an instance may have a token."""

    NEVER = "never"
    RARE_AND_ABOVE = "rare_and_above"
    BY_USER_REQUEST = "by_user_request"
    ALWAYS = "always"


class InstanceStatus(StrEnum):
    """What became of a badge: active -> revoked | burned_onchain."""

    ACTIVE = "active"
    REVOKED = "revoked"
    BURNED_ONCHAIN = "burned_onchain"


class OnchainStatus(StrEnum):
    """How far its mint came: not_minted -> pending -> minted | failed; failed -> pending.

    Stays `minted` after a burn.
    """

    NOT_MINTED = "not_minted"
    PENDING = "pending"
    MINTED = "minted"
    FAILED = "failed"


class TaskStatus(StrEnum):
    """A mint task's state; docs/mint-lifecycle.md has the diagram."""

    PENDING = "pending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"


class TaskOperation(StrEnum):
    """What a task asks of the chain.

    `burn` revokes the token (TEP-85): only its owner could destroy it.
    """

    MINT = "mint"
    BURN = "burn"


class HoldReason(StrEnum):
    """Why a pending task waits for something other than time."""

    NO_WALLET = "no_wallet"
    OPERATOR = "operator"
    BREAKER = "breaker"
    RECIPIENT = "recipient"


class TokenEnd(StrEnum):
    """How a token was seen to end: revoked by the authority, or destroyed by its owner (TEP-85)."""

    REVOKED = "revoked"
    DESTROYED = "destroyed"


class TaskEvent(StrEnum):
    """What happened to a mint task (mint_task_event): one word a decision that changed it."""

    SIGNED = "signed"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    HELD = "held"
    PARKED = "parked"
    # Its message can no longer execute: signed again, with the same index.
    VOID = "void"
    INDEX_TAKEN = "index_taken"
    CANCELLED = "cancelled"
    ADOPTED = "adopted"
    # By an operator: `laurel queue`.
    RETRIED = "retried"
    RELEASED = "released"


class MessageKind(StrEnum):
    """What a signed external message does."""

    DEPLOY = "deploy"
    MINT = "mint"
    BURN = "burn"


class MessageStatus(StrEnum):
    """A signed message's state: unresolved until the outcome of each of its tasks is recorded."""

    UNRESOLVED = "unresolved"
    SETTLED = "settled"
    VOID = "void"


class AuditAction(StrEnum):
    """The seed's audit actions."""

    CREATED = "created"
    LEVEL_UP = "level_up"
    METADATA_UPDATED = "metadata_updated"
    SUBMITTED_ONCHAIN = "submitted_onchain"
    MINTED_ONCHAIN = "minted_onchain"
    BURNED_ONCHAIN = "burned_onchain"
    REVOKED = "revoked"


class JobState(StrEnum):
    """How far what follows from a new catalog is worked off: in this order, if nothing overtakes.

    `counters`: types take over counters; `levels`: users are evaluated; `metadata`: badges are
    rewritten; `superseded`: the next version's job has taken over what was left.
    """

    COUNTERS = "counters"
    LEVELS = "levels"
    METADATA = "metadata"
    DONE = "done"
    SUPERSEDED = "superseded"


class CounterKind(StrEnum):
    """How a counter adds up."""

    COUNT = "count"
    DISTINCT = "distinct"
    SUM = "sum"
    MAX = "max"


class CounterOperation(IntEnum):
    """How one event changes a counter; the numbers travel to the staging table and mean no more."""

    # The amount is added.
    ADD = 1
    # The counter becomes at least the amount.
    MAX = 2
    # Counts the first time that the user brings this member.
    DISTINCT = 3
    # Counts while the id is posted and not undone.
    POST = 4
    # Takes the id out, for ever, whichever came first.
    UNDO = 5


class FieldKind(StrEnum):
    """What a declared field of an event's data holds."""

    # An opaque string of 1 to 128 characters.
    ID = "id"
    TEXT = "text"
    # 0 to 2^53-1 unless bounded.
    INTEGER = "integer"
    # A decimal of at most 30 digits, exponent within 30.
    NUMBER = "number"


class AchievementStatus(StrEnum):
    """Whether an achievement is listed and may be granted: draft -> published -> active <-> hidden.

    A draft is neither, a published one is listed, an active one is both, a hidden one is granted
    in secret.
    """

    DRAFT = "draft"
    PUBLISHED = "published"
    HIDDEN = "hidden"
    ACTIVE = "active"


class Visibility(StrEnum):
    """Who sees a grant."""

    PUBLIC = "public"
    PRIVATE = "private"


class Actor(StrEnum):
    """Who acted, in the audit log, beside the services that events and commands come from."""

    SYSTEM = "system"
    ADMIN = "admin"


class OutboxType(StrEnum):
    """CloudEvents types of what Laurel publishes."""

    BADGE_CREATED = "badge.created"
    BADGE_LEVELED_UP = "badge.leveled_up"
    BADGE_MINTED = "badge.minted"
    BADGE_BURNED = "badge.burned"
    BADGE_REVOKED = "badge.revoked"
    ACHIEVEMENT_GRANTED = "achievement.granted"
    ACHIEVEMENT_REVOKED = "achievement.revoked"


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


class PauseReason(StrEnum):
    """Why a partition is not read on. Closed: a metric label, too."""

    RECORDS_REMOVED = "records_removed"
    TOPIC_ENDS_EARLY = "topic_ends_early"
    TOPIC_RECREATED = "topic_recreated"
    UNDECODABLE_BATCH = "undecodable_batch"
    REFUSED_BY_DATABASE = "refused_by_database"
    INVARIANT_BROKEN = "invariant_broken"


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


@dataclass(frozen=True, slots=True)
class Instance:
    """One user's badge of one type (nft_instance).

    `ordinal` is 1 for the user's first badge of the type, 2 for one awarded after that was revoked
    or burned.
    """

    id: UUID
    type_id: UUID
    user_id: UUID
    tenant_id: UUID
    current_level: int
    status: InstanceStatus
    onchain_status: OnchainStatus
    onchain_token_id: RawAddress | None
    ordinal: int


@dataclass(frozen=True, slots=True)
class TokenState:
    """How far the mint queue has come with one badge's token.

    `mint_open` and `burn_open`: a task is pending or sent; `burned`: a burn was confirmed. The
    token's address is the instance's own, and stays there after a burn.
    """

    mint_open: bool = False
    burn_open: bool = False
    burned: bool = False


@dataclass(frozen=True, slots=True)
class LeasedTask:
    """A row of nft_mint_queue under our lease, with what the minter needs of its badge.

    `token_id` is the badge's token, which a burn revokes. `lease` is None for a held mint that came
    along with its collection's reserved indexes. `is_minted`: the badge has its token already.
    """

    id: UUID
    nft_instance_id: UUID
    user_id: UUID
    type_id: UUID
    type_code: TypeCode
    operation: TaskOperation
    status: TaskStatus
    retry_count: int
    recipient: RawAddress | None
    token_id: RawAddress | None
    token_index: int | None
    chain_message_id: UUID | None
    hold_reason: HoldReason | None
    lease: LeaseToken | None
    created_at: datetime
    is_minted: bool = False

    @property
    def attempt(self) -> int:
        """Return how many messages were signed for this task that may have been executed."""
        return self.retry_count + (self.chain_message_id is not None)

    @property
    def is_movable(self) -> bool:
        """Return whether it holds an index of which no message can make anything any more."""
        return self.token_index is not None and self.attempt == 0

    def after_signing(
        self, message_id: UUID, token_index: int, recipient: RawAddress | None
    ) -> "LeasedTask":
        """Return the task as settling.sign leaves it."""
        return replace(
            self,
            status=TaskStatus.SENT,
            retry_count=self.retry_count + (self.chain_message_id is not None),
            recipient=recipient,
            token_index=token_index,
            chain_message_id=message_id,
            hold_reason=None,
        )


@dataclass(frozen=True, slots=True)
class Commitments:
    """Unresolved messages and their actions: what they cost may still leave the wallet."""

    mints: int
    burns: int
    deploys: int
    messages: int = 0


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What the database records of one badge's token, for comparison with the chain.

    `mint_status`, `token_index` and `recipient` are those of its most telling mint task (confirmed
    before sent before pending before failed); None where it has none. `burn_open`: a burn is
    pending or sent; `burned`: one was confirmed; `burn_failed`: one failed.
    """

    instance_id: UUID
    type_id: UUID
    status: InstanceStatus
    onchain_status: OnchainStatus
    token_id: RawAddress | None
    mint_status: TaskStatus | None
    token_index: int | None
    recipient: RawAddress | None
    burn_open: bool
    burned: bool
    burn_failed: bool = False


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One declared field of an event's data; `minimum` and `maximum` bound the numbers."""

    name: str
    kind: FieldKind
    required: bool = False
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class EventSpec:
    """An event type of the contract.

    The topic (without prefix) it arrives on, and its declared fields.
    """

    type: str
    topic: str
    fields: tuple[FieldSpec, ...]


@dataclass(frozen=True, slots=True)
class CounterSpec:
    """A counter: which events, how they add up, what undoes them.

    `id` is counter_definition.id, 0 before it is applied.
    """

    id: int
    name: CounterName
    kind: CounterKind
    event_type: str
    # distinct, sum, max: the field; count with undo: the id that pairs post and undo.
    field: str | None = None
    filter: Mapping[str, object] | None = None
    undo_event_type: str | None = None
    undo_field: str | None = None


@dataclass(frozen=True, slots=True)
class CounterBinding:
    """A counter as one badge type uses it.

    `thresholds` are the numbers that the type's conditions compare it with: only a counter that
    reaches or passes one of them can change a level. `is_max`: it keeps the highest amount.
    """

    counter_id: int
    type_id: UUID
    name: CounterName
    is_max: bool
    thresholds: tuple[int | Decimal, ...]


@dataclass(frozen=True, slots=True)
class LevelSpec:
    """A step of a type; `conditions` in the grammar of processor/rules/conditions.py."""

    level: int
    order: int
    title: str
    description: str
    rarity: Rarity
    image_url: str | None
    conditions: Mapping[str, object]
    auto_mint_onchain: bool
    onchain_policy: OnchainPolicy | None = None
    order_dependent: bool = False
    i18n: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """A badge type with its levels, sorted by `order`.

    `id` is nft_type.id, derived from the code.
    """

    id: UUID
    code: TypeCode
    title: str
    description: str
    category: Category
    base_image_url: str
    is_onchain_capable: bool
    default_onchain_policy: OnchainPolicy
    onchain_min_rarity: Rarity
    metadata_schema: Mapping[str, object]
    counters: tuple[CounterName, ...]
    metadata_fields: Mapping[str, CounterName]  # metadata field -> counter
    levels: tuple[LevelSpec, ...]
    i18n: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that is data, not code.

    `version` is catalog_version.id, 0 before it is applied.
    """

    version: int
    events: tuple[EventSpec, ...]
    counters: tuple[CounterSpec, ...]
    types: tuple[TypeSpec, ...]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A row for nft_audit_log; `instance_id` None for a type's own history."""

    instance_id: UUID | None
    action: AuditAction
    actor_service: str
    details: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message for the outbox; seq is given when it is written."""

    user_id: UUID
    tenant_id: UUID
    event_type: OutboxType
    payload: Mapping[str, object]
    occurred_at: datetime

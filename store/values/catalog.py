"""The catalog: event types, counters, badge types and their levels.

Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum, StrEnum
from uuid import UUID

from store.values.names import CounterName, TypeCode


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

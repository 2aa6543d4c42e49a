"""Catalogs, commands and rows in plain data, and what conditions and filters say of numbers: the words
of tests/builders/plain_model.py, with nothing of Laurel's own code.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Any
from uuid import UUID

Message = dict[str, Any]
Amount = int | Decimal | Fraction
Holder = tuple[UUID, str]

_RARITIES = ("common", "uncommon", "rare", "epic", "legendary")
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "gte": lambda value, bound: value >= bound,
    "gt": lambda value, bound: value > bound,
    "lte": lambda value, bound: value <= bound,
    "lt": lambda value, bound: value < bound,
    "eq": lambda value, bound: value == bound,
    "ne": lambda value, bound: value != bound,
}


@dataclass(frozen=True)
class Counted:
    """A counter; `undo` is the event type that takes out what it counted, paired by `field`."""

    kind: str
    event: str
    field: str | None = None
    filter: Mapping[str, Any] | None = None
    undo: str | None = None


@dataclass(frozen=True)
class Level:
    level: int
    conditions: Mapping[str, Any]
    auto_mint: bool = False
    policy: str | None = None
    rarity: str = "common"


@dataclass(frozen=True)
class BadgeType:
    """`metadata` maps fields to counters; levels from the lowest on."""

    id: UUID
    counters: tuple[str, ...]
    levels: tuple[Level, ...]
    policy: str = "always"
    min_rarity: str = "rare"
    metadata: Mapping[str, str] = field(default_factory=dict)

    def mints(self, passed: Iterable[Level]) -> bool:
        """Return whether passing these levels asks for a token."""
        return any(each.auto_mint and self._may_mint(each) for each in passed)

    def _may_mint(self, level: Level) -> bool:
        policy = level.policy or self.policy
        is_rare = _RARITIES.index(level.rarity) >= _RARITIES.index(self.min_rarity)
        return policy == "always" or (policy == "rare_and_above" and is_rare)


@dataclass(frozen=True)
class Rules:
    """A catalog."""

    counters: Mapping[str, Counted]
    types: Mapping[str, BadgeType]


@dataclass(frozen=True)
class Source:
    """What a change names as its source, and who acted."""

    service: str
    event_id: str | None
    tenant: UUID
    actor: str = "system"


@dataclass(frozen=True)
class Command:
    """What a person asks for; `level` is an award's."""

    kind: str
    user: UUID
    code: str
    external_id: str
    reason: str | None = None
    level: int | None = None


@dataclass
class Row:
    """Of nft_progress: which counters it has, and when the latest event was."""

    names: set[str]
    last_event_at: datetime


@dataclass
class Badge:
    id: UUID
    level: int
    metadata: Mapping[str, Any]
    source: Source
    tenant: UUID
    external_id: str | None = None
    status: str = "active"
    onchain: str = "not_minted"
    # Status and reason to be held, of the one mint task; None where there is none.
    task: tuple[str, str | None] | None = None
    # What silent runs left unsaid, and whether they left out a mint.
    unsaid: tuple[str | None, bool] | None = None
    audit: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


@dataclass
class Seen:
    """Of processed_event; `version` 0 where no counter listened."""

    type: str
    subject: UUID
    version: int
    day: date
    silent: bool


@dataclass(frozen=True)
class Run:
    """Whether others hear of what a transaction gives, and whether it is minted."""

    publish: bool = True
    mint: bool = True

    @property
    def silent(self) -> bool:
        return not (self.publish and self.mint)


@dataclass(frozen=True)
class Part:
    """What an event adds to a counter: a number, or a member that is posted or undone."""

    counter: str
    amount: Amount | None = None
    member: str | None = None
    undone: bool = False


def holds(conditions: Mapping[str, Any], counters: Mapping[str, Any]) -> bool:
    """Return whether conditions of the catalog's grammar hold; what is missing is 0."""
    return all(_entry_holds(key, value, counters) for key, value in conditions.items())


def _entry_holds(key: str, value: Any, counters: Mapping[str, Any]) -> bool:
    if key == "all":
        return all(holds(each, counters) for each in value)
    if key == "any":
        return any(holds(each, counters) for each in value)
    if key == "not":
        return not holds(value, counters)
    return all(_COMPARED[op](counters.get(key, 0), bound) for op, bound in value.items())


def event_key(tenant: UUID, source: str, number: str) -> UUID:
    """Return the key of an event whose id has no time in it."""
    name, own = source.encode(), number.encode()
    whole = b"16:%b%d:%b%d:%b" % (tenant.bytes, len(name), name, len(own), own)
    return UUID(bytes=sha256(whole).digest()[:16])


def time_of(message: Message) -> datetime:
    return datetime.fromisoformat(message["time"]).astimezone(UTC)


def service_of(source: str) -> str:
    return source.split("/")[1].replace("-", "_")


def passes(wanted: Mapping[str, Any] | None, data: Mapping[str, Any]) -> bool:
    return wanted is None or all(
        data.get(name) is not None and _COMPARED[op](data[name], bound)
        for name, ops in wanted.items()
        for op, bound in ops.items()
    )

"""Read a Kafka record: an event to count, a command, a wallet change, or a rejection.

Reading never raises: what does not keep to the contract comes out as `Rejected`, with a reason and
a detail for a person, and the records beside it are read all the same. So does what nobody thought
of: whatever one record does to a decoder is that record's trouble (`unreadable`).

What is certainly an event is read by quick_reader.py; here is what decides about all the others,
and could decide about those too.

Pure: the time that messages are held against is given.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from msgspec import UNSET

from processor.events import message_schema
from processor.events.addresses import is_test_only, normalised
from processor.events.envelope import opened
from processor.events.event import Event
from processor.events.identity import event_key, fingerprint
from processor.events.message_schema import (
    AwardData,
    CommandData,
    Envelope,
    WalletData,
    WalletType,
)
from processor.events.quick_reader import QuickRead, QuickReader
from processor.events.records import LargeRecord, Record
from processor.events.rejection import UNKNOWN, ContractViolation, Rejected
from processor.rules.counters import Listeners, listeners_by_type
from store.values.catalog import Catalog, EventSpec
from store.values.names import RawAddress
from store.values.stream import CommandType, Reason


class WalletChange(msgspec.Struct, frozen=True, gc=False):
    """A user linked or unlinked an address at `time`.

    `test_only`: it came in a form for test networks only.
    """

    type: WalletType
    user_id: UUID
    address: RawAddress
    time: datetime
    test_only: bool = False


class BadgeCommand(msgspec.Struct, frozen=True, gc=False):
    """A request about one badge, named by its type or its own id, or both.

    `content_hash` covers type, subject and data; `actor` is the service that asks. `level` is the
    one that badge.award asks for; None leaves it to the counters. `event_id` is the message's own
    id, None where a person gave the command.
    """

    type: CommandType
    external_id: str
    user_id: UUID
    type_code: str | None
    instance_id: UUID | None
    reason: str | None
    content_hash: bytes
    actor: str
    tenant_id: UUID
    level: int | None = None
    event_id: str | None = None


Parsed = Event | WalletChange | BadgeCommand | Rejected


class EventReader:
    """Reads the messages of one catalog version.

    Args:
        catalog: the event types and counters in force.
        tenant_id: the tenant of a message without `tenantid`.
        future_tolerance: a `time` further ahead than this is rejected.
        floor: a counted event of a day (UTC) before it is rejected, since its id may have been
            forgotten; None = any age is welcome.
    """

    def __init__(
        self,
        catalog: Catalog,
        tenant_id: UUID,
        future_tolerance: timedelta,
        floor: date | None,
    ) -> None:
        self.catalog = catalog
        self._tenant_id = tenant_id
        self._tolerance = future_tolerance
        self.floor = floor
        self._earliest = datetime.combine(floor or date.min, time(), UTC)
        self._specs = {spec.type: spec for spec in catalog.events}
        self._checks: dict[str, Callable[[bytes], None]] = {
            spec.type: message_schema.checker(spec) for spec in catalog.events
        }
        self._listeners: Mapping[str, Listeners] = listeners_by_type(catalog)
        self._quick = {
            topic: QuickReader(specs, self._listeners, tenant_id)
            for topic, specs in _by_topic(self._specs.values()).items()
        }

    def at(self, now: datetime, topic: str | None) -> Callable[[Record], Parsed]:
        """Return the function that reads one record at the time `now`.

        `topic` is the contract's name of its topic; None for a file, which may hold any type.
        """
        fully = self.fully_at(now, topic)
        if topic not in self._quick:
            return fully
        return _quick_or(self._quick[topic].at(self._earliest, now + self._tolerance), fully)

    def fully_at(self, now: datetime, topic: str | None) -> Callable[[Record], Parsed]:
        """Return the function that says the same as that of `at`, by looking at everything."""
        latest = now + self._tolerance

        def read(record: Record) -> Parsed:
            declared = UNKNOWN
            if type(record) is LargeRecord:
                return Rejected(
                    Reason.TOO_LARGE,
                    f"{record.size} bytes of key, value and headers; {record.size_max} are read",
                )
            try:
                envelope, data = opened(record)
                kind = envelope.type
                if kind in self._specs or kind in _BUILT_IN:
                    declared = kind
                elif kind in message_schema.LATER_COMMANDS:
                    raise ContractViolation(
                        Reason.UNSUPPORTED_COMMAND,
                        f"{kind} is not carried out by this version of Laurel",
                    )
                else:
                    raise ContractViolation(
                        Reason.UNKNOWN_TYPE, f"the catalog declares no event type {kind[:128]!r}"
                    )
                self._check_topic(kind, topic)
                if envelope.time > latest and envelope.time > self._latest_of(record):
                    raise ContractViolation(
                        Reason.TOO_NEW,
                        f"time is {envelope.time.isoformat()}, "
                        "ahead of this host's clock and of the record's timestamp",
                    )
                if declared in _BUILT_IN:
                    return self._built_in(envelope, data)
                if envelope.time < self._earliest:
                    raise ContractViolation(
                        Reason.TOO_OLD,
                        f"time is {envelope.time.isoformat()}, and ids of events before "
                        f"{self.floor} may have been forgotten",
                    )
                return self._event(envelope, data, record.offset)
            except ContractViolation as violation:
                return Rejected(violation.reason, violation.detail, declared)
            except RecursionError:
                return Rejected(Reason.UNREADABLE, "its JSON is nested too deeply", declared)
            except MemoryError:
                raise  # the process's trouble, not the record's
            except Exception as error:  # noqa: BLE001 - the boundary: what nobody thought of is one record's trouble
                detail = f"{type(error).__name__} while reading: {error}"
                return Rejected(Reason.UNREADABLE, detail, declared)

        return read

    def _latest_of(self, record: Record) -> datetime:
        """Return how late an event may be by Kafka's timestamp of its record.

        A host whose clock is behind must not take what is on time for the future.
        """
        try:
            return datetime.fromtimestamp((record.timestamp or 0) / 1000, UTC) + self._tolerance
        except (OverflowError, ValueError, OSError):  # no such instant
            return datetime.min.replace(tzinfo=UTC)

    def _check_topic(self, kind: str, topic: str | None) -> None:
        # Who may write to a topic is the broker's access list; a command on a topic for events
        # would pass it by.
        expected = _BUILT_IN.get(kind) or self._specs[kind].topic
        if topic is not None and topic != expected:
            raise ContractViolation(Reason.WRONG_TOPIC, f"{kind} belongs on the topic {expected}")

    def _event(self, envelope: Envelope, data: bytes, offset: int) -> Event:
        kind = envelope.type
        try:
            self._checks[kind](data)
        except msgspec.DecodeError as error:
            raise message_schema.data_violation(error) from None
        listeners = self._listeners.get(kind)
        contributions = () if listeners is None else listeners.constant
        if contributions is None and listeners is not None:
            try:
                contributions = listeners.contributions(message_schema.OBJECT(data))
            except ValueError as error:
                raise ContractViolation(Reason.BAD_FIELD, str(error)) from None
        tenant_id = envelope.tenantid or self._tenant_id
        return Event(
            kind,
            offset,
            event_key(tenant_id, envelope.source, envelope.id),
            fingerprint(kind, envelope.subject),
            envelope.subject,
            envelope.time,
            envelope.source,
            envelope.id,
            tenant_id,
            contributions or (),
            listeners is not None,
        )

    def _built_in(self, envelope: Envelope, data: bytes) -> WalletChange | BadgeCommand:
        try:
            if envelope.type in _WALLET_TYPES:
                return _wallet_change(envelope, _WALLET_DATA(data))
            return _command(envelope, data, envelope.tenantid or self._tenant_id)
        except msgspec.DecodeError as error:
            raise message_schema.data_violation(error) from None


def _by_topic(specs: Iterable[EventSpec]) -> dict[str | None, list[EventSpec]]:
    """Return the event types of each topic; under None all of them, where there are any."""
    found: dict[str | None, list[EventSpec]] = {}
    for spec in specs:
        if spec.type in _BUILT_IN:
            continue
        for topic in (spec.topic, None):
            found.setdefault(topic, []).append(spec)
    return found


def _quick_or(quick: QuickRead, fully: Callable[[Record], Parsed]) -> Callable[[Record], Parsed]:
    def read(record: Record) -> Parsed:
        try:
            event = quick(record)
        except Exception:  # noqa: BLE001 - whatever it is, the full reader says what is wrong
            event = None
        return fully(record) if event is None else event

    return read


_WALLET_TYPES = frozenset(WalletType)
_BUILT_IN = message_schema.BUILT_IN_TOPICS
_WALLET_DATA = msgspec.json.Decoder(WalletData).decode
_COMMAND_DATA = msgspec.json.Decoder(CommandData).decode
_AWARD_DATA = msgspec.json.Decoder(AwardData).decode


def service_of(source: str) -> str:
    """Return the service that a CloudEvents source names.

    The first segment of its path, else its host, or a urn's namespace.

    >>> service_of("/connect-service/eu")
    'connect_service'
    """
    try:
        parts = urlsplit(source)
    except ValueError:  # brackets that enclose no IPv6 address
        return UNKNOWN
    if parts.scheme == "urn":
        name = parts.path.partition(":")[0]
    else:
        name = (
            next((segment for segment in parts.path.split("/") if segment), "")
            or parts.hostname
            or ""
        )
    return name.replace("-", "_") or UNKNOWN


def _wallet_change(envelope: Envelope, data: WalletData) -> WalletChange:
    try:
        address = normalised(data.address)
    except ValueError as error:
        raise ContractViolation(Reason.BAD_ADDRESS, str(error)) from None
    type_, test_only = WalletType(envelope.type), is_test_only(data.address)
    return WalletChange(type_, envelope.subject, address, envelope.time, test_only)


def _command(envelope: Envelope, data: bytes, tenant_id: UUID) -> BadgeCommand:
    kind = CommandType(envelope.type)
    request = _AWARD_DATA(data) if kind is CommandType.AWARD else _named(kind, data)
    level = request.level if isinstance(request, AwardData) else UNSET
    instance_id = UNSET if isinstance(request, AwardData) else request.instance_id
    return BadgeCommand(
        kind,
        request.external_id,
        envelope.subject,
        None if request.type_code is UNSET else request.type_code,
        None if instance_id is UNSET else instance_id,
        None if request.reason is UNSET else request.reason,
        content_hash(envelope.type, envelope.subject, message_schema.OBJECT(data)),
        service_of(envelope.source),
        tenant_id,
        None if level is UNSET else level,
        envelope.id,
    )


def _named(kind: CommandType, data: bytes) -> CommandData:
    """Return the data of a command about a badge that is there."""
    request = _COMMAND_DATA(data)
    if request.type_code is UNSET and request.instance_id is UNSET:
        raise ContractViolation(
            Reason.MISSING_FIELD, "neither `type_code` nor `instance_id` names the badge"
        )
    if kind is CommandType.REVOKE and request.reason is UNSET:
        raise ContractViolation(Reason.MISSING_FIELD, "a revocation needs its `reason`")
    return request


def content_hash(kind: str, subject: UUID, data: Mapping[str, object]) -> bytes:
    """Return the hash that tells a repeated command from another one with the same id.

    The order of keys does not matter.
    """
    parts = (kind.encode(), subject.bytes, msgspec.json.encode(data, order="sorted"))
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()

"""What the database holds, and what tests/builders/plain_model.py says that it must hold, as equal
values."""

from binascii import crc32
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from ops.settings import DEFAULT_TENANT
from store.engine import Database
from tests.builders.commit_order import Told, follow
from tests.builders.messages import NOW
from tests.builders.plain_model import Model
from tests.builders.sql import rows

_COUNTERS = """
    SELECT user_id, code, counters, last_event_at
      FROM nft_progress JOIN nft_type ON nft_type.id = type_id
"""
_MEMBERS = """
    SELECT user_id, name, member, posted, undone
      FROM progress_member JOIN counter_definition AS counter ON counter.id = counter_id
"""
_BADGES = """
    SELECT badge.id, user_id, code, ordinal, current_level, status, onchain_status, onchain_token_id,
           metadata, source_service, source_event_id, tenant_id, external_id
      FROM nft_instance AS badge JOIN nft_type ON nft_type.id = type_id
"""
# Of one badge, by level: they only rise. What ends it or rewrites it stands behind.
_AUDIT = """
    SELECT nft_instance_id, action, actor_service, details FROM nft_audit_log
     WHERE nft_instance_id IS NOT NULL
     ORDER BY action IN ('created', 'level_up') DESC, (details->>'level')::int, id
"""
# Of one statement (they share the first 24 digits of their ids), by id.
_AUDIT_OF_STATEMENTS = """
    SELECT array_agg((details->>'level')::int ORDER BY id)
      FROM nft_audit_log WHERE action IN ('created', 'level_up') AND nft_instance_id IS NOT NULL
     GROUP BY nft_instance_id, left(replace(id::text, '-', ''), 24)
"""
_TASKS = "SELECT nft_instance_id, operation, status, hold_reason FROM nft_mint_queue"
_MESSAGES = """
    SELECT user_id, seq, event_type, tenant_id, payload, occurred_at, published_at
      FROM outbox_message ORDER BY user_id, seq
"""
_EVENTS = "SELECT event_key, first_version, fingerprint, occurred_on, silent FROM processed_event"
_LETTERS = "SELECT reason, convert_from(value, 'utf8')::jsonb->>'id' FROM dead_letter"


async def differences(
    database: Database, told: Told, wallets: list[UUID]
) -> dict[str, tuple[object, object]]:
    """Return what `database` holds that it must not, and what it lacks, by what it is about."""
    model = Model(DEFAULT_TENANT, wallets, await _given_by(database))
    await follow(database, told, model)
    held, wanted = await found(database), expected(model)
    return {
        name: (only_in(held[name], wanted[name]), only_in(wanted[name], held[name]))
        for name in wanted
        if held[name] != wanted[name]
    }


def only_in(one: Any, other: Any) -> Any:
    """Return what of `one` is not in `other`: what a failure prints is to be short."""
    if isinstance(one, Counter):
        return one - other
    if isinstance(one, dict):
        return {key: value for key, value in one.items() if key not in other or other[key] != value}
    return one - other if isinstance(one, set) else one


async def _given_by(database: Database) -> Callable[[UUID, int, str, str | None], bool]:
    """Return the function that says whether an event's batch gave a badge its level."""
    statement = """
        SELECT nft_instance_id, (details->>'level')::int, details->>'source_service',
               details->>'source_event_id'
          FROM nft_audit_log WHERE action IN ('created', 'level_up')
    """
    given = set(await rows(database, statement))
    return lambda badge_id, level, service, event_id: (badge_id, level, service, event_id) in given


async def found(database: Database) -> dict[str, Any]:
    """Return what the database holds."""
    audit: dict[UUID, list[tuple[Any, ...]]] = defaultdict(list)
    for badge_id, *entry in await rows(database, _AUDIT):
        audit[badge_id].append(tuple(entry))
    return {
        "counters": {
            (user, code): (counters, latest)
            for user, code, counters, latest in await rows(database, _COUNTERS)
        },
        "members": set(await rows(database, _MEMBERS)),
        "badges": {each[0]: each[1:] for each in await rows(database, _BADGES)},
        "audit": dict(audit),
        "tasks": Counter(await rows(database, _TASKS)),
        "left unsaid": set(
            await rows(database, "SELECT nft_instance_id, message, mint FROM silenced_badge")
        ),
        "messages": await rows(database, _MESSAGES),
        "ids": set(await rows(database, _EVENTS)),
        "dead letters": Counter(await rows(database, _LETTERS)),
        "audit of a statement out of order": [
            levels
            for (levels,) in await rows(database, _AUDIT_OF_STATEMENTS)
            if levels != sorted(levels)
        ],
    }


def expected(model: Model) -> dict[str, Any]:
    """Return the same of the model."""
    badges = {each.id: each for held in model.badges.values() for each in held}
    return {
        "counters": {
            holder: (model.counters(holder), row.last_event_at)
            for holder, row in model.rows.items()
        },
        "members": {(*key, *flags) for key, flags in model.members.items()},
        "badges": dict(_badges(model)),
        "audit": {number: _in_order(each.audit) for number, each in badges.items()},
        "tasks": Counter((each.id, "mint", *each.task) for each in badges.values() if each.task),
        "left unsaid": {(each.id, *each.unsaid) for each in badges.values() if each.unsaid},
        "messages": [
            (user, seq, kind, tenant, payload, NOW, None)
            for user, messages in sorted(model.said.items())
            for seq, (kind, tenant, payload) in enumerate(messages, 1)
        ],
        "ids": {
            (key, each.version, _fingerprint(each.type, each.subject), each.day, each.silent)
            for key, each in model.seen.items()
        },
        "dead letters": Counter(model.dead),
        "audit of a statement out of order": [],
    }


def _badges(model: Model) -> Iterator[tuple[UUID, tuple[Any, ...]]]:
    for (user, code), held in model.badges.items():
        for ordinal, each in enumerate(held, 1):
            row = (user, code, ordinal, each.level, each.status, each.onchain, None, each.metadata)
            source = each.source.service, each.source.event_id, each.tenant, each.external_id
            yield each.id, (*row, *source)


def _in_order(audit: list[tuple[str, str, dict[str, Any]]]) -> list[tuple[Any, ...]]:
    levels = [each for each in audit if each[0] in ("created", "level_up")]
    return levels + [each for each in audit if each not in levels]


def _fingerprint(kind: str, subject: UUID) -> int:
    name = kind.encode()
    return crc32(b"%d:%b16:%b" % (len(name), name, subject.bytes)) - 2**31 or 1

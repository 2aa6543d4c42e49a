"""Read-only questions about the whole database, for those who check it.

They are `laurel demo` and the end-to-end tests. Nothing in here decides anything; it hands out
what is there, so that others can hold it against what should be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from store.engine import Connection
from store.values.badges import InstanceStatus, OnchainStatus
from store.values.shadows import without_shadows
from store.values.stream import Reason


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """One user's counters for one type, by name, and the time of the latest event in them."""

    user_id: UUID
    type_code: str
    counters: Mapping[str, int | Decimal]
    last_event_at: datetime


@dataclass(frozen=True, slots=True)
class BadgeRow:
    """One badge.

    `audit` counts its audit rows by action, `outbox` its messages by type; `mints` and `burns` its
    confirmed tasks; `held` its tasks that wait for a wallet.
    """

    id: UUID
    user_id: UUID
    type_code: str
    level: int
    status: InstanceStatus
    onchain_status: OnchainStatus
    token_id: str | None
    recipient: str | None
    audit: Mapping[str, int]
    outbox: Mapping[str, int]
    mints: int
    burns: int
    held: int


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """One dead letter; `topic` with its prefix."""

    topic: str
    reason: Reason
    value: bytes | None


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """One type's collection; `next_index` is the number of indexes given out."""

    type_code: str
    address: str
    item_prefix: str
    next_index: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the demo compares, read in one transaction.

    `gapped_users` have an outbox whose seq is not 1, 2, 3, ...
    """

    events: int
    commands: int
    progress: tuple[ProgressRow, ...]
    badges: tuple[BadgeRow, ...]
    letters: tuple[DeadLetterRow, ...]
    collections: tuple[CollectionRow, ...]
    outbox_messages: int
    gapped_users: tuple[UUID, ...]
    # External ids of the commands that wait.
    waiting: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Figures:
    """A few numbers of a system at work, cheap enough to ask several times a second.

    `open_tasks` are those the minter has to do, so not those that wait for a wallet; `signed_tasks`
    of them are signed and unsettled.
    """

    events: int
    commands: int
    letters: int
    badges: int
    tokens: int
    burned: int
    open_tasks: int
    signed_tasks: int
    held_tasks: int


EVENTS = text("SELECT count(*) FROM processed_event")
COMMANDS = text("SELECT count(*) FROM command_log")
PROGRESS = text("""
    SELECT progress.user_id, type.code, progress.counters, progress.last_event_at
      FROM nft_progress AS progress JOIN nft_type AS type ON type.id = progress.type_id
""")
BADGES = text("""
    WITH history AS (
         SELECT nft_instance_id, jsonb_object_agg(action, entries) AS audit
           FROM (SELECT nft_instance_id, action, count(*) AS entries
                   FROM nft_audit_log WHERE nft_instance_id IS NOT NULL
                  GROUP BY nft_instance_id, action) AS counted
          GROUP BY nft_instance_id),
         messages AS (
         SELECT nft_instance_id, jsonb_object_agg(event_type, entries) AS outbox
           FROM (SELECT payload->>'instance_id' AS nft_instance_id, event_type, count(*) AS entries
                   FROM outbox_message GROUP BY payload->>'instance_id', event_type) AS counted
          GROUP BY nft_instance_id),
         work AS (
         SELECT nft_instance_id,
                count(*) FILTER (WHERE operation = 'mint' AND status = 'confirmed') AS mints,
                count(*) FILTER (WHERE operation = 'burn' AND status = 'confirmed') AS burns,
                count(*) FILTER (WHERE hold_reason = 'no_wallet') AS held,
                max(recipient) FILTER (WHERE operation = 'mint') AS recipient
           FROM nft_mint_queue GROUP BY nft_instance_id)
    SELECT instance.id, instance.user_id, type.code, instance.current_level, instance.status,
           instance.onchain_status, instance.onchain_token_id, work.recipient,
           coalesce(history.audit, '{}') AS audit, coalesce(messages.outbox, '{}') AS outbox,
           coalesce(work.mints, 0) AS mints, coalesce(work.burns, 0) AS burns,
           coalesce(work.held, 0) AS held
      FROM nft_instance AS instance
           JOIN nft_type AS type ON type.id = instance.type_id
           LEFT JOIN history ON history.nft_instance_id = instance.id
           LEFT JOIN messages ON messages.nft_instance_id = instance.id::text
           LEFT JOIN work ON work.nft_instance_id = instance.id
     ORDER BY instance.user_id, type.code, instance.created_at
""")
LETTERS = text("SELECT topic, reason, value FROM dead_letter ORDER BY id")
COLLECTIONS = text("""
    SELECT type.code, collection.address, collection.item_prefix, collection.next_index
      FROM chain_collection AS collection JOIN nft_type AS type ON type.id = collection.type_id
     ORDER BY type.code
""")
WAITING = text("SELECT external_id FROM waiting_command")
OUTBOX = text("SELECT count(*) FROM outbox_message")
GAPS = text("""
    SELECT user_id FROM outbox_message
     GROUP BY user_id
    HAVING min(seq) <> 1 OR max(seq) <> count(*)
     ORDER BY user_id
""")
FIGURES = text("""
    SELECT (SELECT count(*) FROM processed_event) AS events,
           (SELECT count(*) FROM command_log) AS commands,
           (SELECT count(*) FROM dead_letter) AS letters,
           (SELECT count(*) FROM nft_instance) AS badges,
           (SELECT count(*) FROM nft_instance WHERE onchain_token_id IS NOT NULL) AS tokens,
           (SELECT count(*) FROM nft_mint_queue
             WHERE operation = 'burn' AND status = 'confirmed') AS burned,
           (SELECT count(*) FROM nft_mint_queue
             WHERE status IN ('pending', 'sent')
               AND hold_reason IS DISTINCT FROM 'no_wallet') AS open_tasks,
           (SELECT count(*) FROM nft_mint_queue WHERE status = 'sent') AS signed_tasks,
           (SELECT count(*) FROM nft_mint_queue WHERE hold_reason = 'no_wallet') AS held_tasks
""")
LEDGER = text(
    "SELECT topic, partition, next_offset FROM offset_ledger WHERE cluster_id = :cluster_id"
)


async def snapshot(conn: Connection) -> Snapshot:
    """Return all that the demo compares; some megabytes for some ten thousand badges."""
    return Snapshot(
        events=(await conn.execute(EVENTS)).scalar_one(),
        commands=(await conn.execute(COMMANDS)).scalar_one(),
        progress=tuple(
            ProgressRow(user, code, without_shadows(counters), latest)
            for user, code, counters, latest in await conn.execute(PROGRESS)
        ),
        badges=tuple(_badge(row) for row in await conn.execute(BADGES)),
        letters=tuple(
            DeadLetterRow(topic, Reason(reason), value)
            for topic, reason, value in await conn.execute(LETTERS)
        ),
        collections=tuple(CollectionRow(*row) for row in await conn.execute(COLLECTIONS)),
        outbox_messages=(await conn.execute(OUTBOX)).scalar_one(),
        gapped_users=tuple((await conn.execute(GAPS)).scalars()),
        waiting=frozenset((await conn.execute(WAITING)).scalars()),
    )


def _badge(row: Row[Any]) -> BadgeRow:
    badge_id, user_id, code, level, status, onchain_status, *others = tuple(row)
    standing = InstanceStatus(status), OnchainStatus(onchain_status)
    return BadgeRow(badge_id, user_id, code, level, *standing, *others)


async def figures(conn: Connection) -> Figures:
    """Return how far things are."""
    return Figures(*(await conn.execute(FIGURES)).one())


async def ledger(conn: Connection, cluster_id: str) -> dict[tuple[str, int], int]:
    """Return how far each partition of the cluster is counted.

    (topic, partition) -> next offset.
    """
    rows = await conn.execute(LEDGER, {"cluster_id": cluster_id})
    return {(row.topic, row.partition): row.next_offset for row in rows}

"""What the database says is under way now, each answer at a bounded cost however much there is.

For `laurel status` and `laurel doctor`, which ask beside workers and minters at full load. Where
there may be many rows, at most `COUNTED_MAX` of them are counted, in the order of an index
(tests/store/test_plans.py); a caller gives the transaction, and may bound its statements' time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, text

from store import outbox as outbox_table
from store.engine import Connection
from store.values.minting import HoldReason, TaskOperation, TaskStatus
from store.values.names import Partition, TypeCode
from store.values.stream import Reason

# What is more than this is said to be "more than": a person reads no other number differently.
COUNTED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class TaskGroup:
    """Tasks in one state.

    Args:
        operation: what they ask of the chain.
        status: pending or sent.
        hold: why they wait for something other than time.
        tasks: how many; COUNTED_MAX and one stands for more.
        oldest_seconds: for how long the first of them has waited.
    """

    operation: TaskOperation
    status: TaskStatus
    hold: HoldReason | None
    tasks: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class LastToken:
    """The task that the chain confirmed last; `token` None: its badge has none any more."""

    operation: TaskOperation
    type_code: TypeCode
    token: str | None
    seconds_ago: float


@dataclass(frozen=True, slots=True)
class OutboxDepth:
    """Messages that wait to be published.

    Args:
        messages: how many; COUNTED_MAX and one stands for more.
        oldest_seconds: for how long the first of them has waited.
        is_published: whether any ever was; before that nobody publishes, and none is late.
    """

    messages: int
    oldest_seconds: float
    is_published: bool


@dataclass(frozen=True, slots=True)
class CatalogState:
    """The catalog in force, and its job while one is open."""

    version: int
    applied_at: datetime
    job_state: str | None
    job_users: int
    job_idle_seconds: float


@dataclass(frozen=True, slots=True)
class CountedTo:
    """How far a partition is counted, and for how long that has not moved."""

    next_offset: int
    idle_seconds: float


Ledger = dict[str, dict[Partition, CountedTo]]


# By one index each: pending tasks by the order in which they are claimed, held ones reason by
# reason from the oldest on, sent ones by way of the few unresolved messages.
# A revocation waits for nothing of the minter's before its badge's mint is over.
WAITING = text("""
    SELECT task.operation, count(*) AS tasks,
           extract(epoch FROM clock_timestamp() - min(
               CASE WHEN task.operation = 'mint'
                      OR NOT EXISTS (SELECT 1 FROM nft_mint_queue AS mint
                                      WHERE mint.nft_instance_id = task.nft_instance_id
                                        AND mint.operation = 'mint'
                                        AND mint.status IN ('pending', 'sent'))
                    THEN task.run_after END))::float8 AS oldest
      FROM (SELECT operation, nft_instance_id, run_after FROM nft_mint_queue
             WHERE status = 'pending' AND hold_reason IS NULL
             ORDER BY type_id, operation, priority, run_after
             LIMIT :limit) AS task
     GROUP BY task.operation
""")
HELD = text("""
    SELECT task.operation, reason.hold, count(*) AS tasks,
           extract(epoch FROM clock_timestamp() - min(task.updated_at))::float8 AS oldest
      FROM unnest(CAST(:holds AS text[])) AS reason (hold) CROSS JOIN LATERAL (
           SELECT operation, updated_at FROM nft_mint_queue
            WHERE hold_reason = reason.hold
            ORDER BY hold_reason, created_at, id
            LIMIT :limit) AS task
     GROUP BY task.operation, reason.hold
""")
SENT = text("""
    SELECT task.operation, count(*) AS tasks,
           extract(epoch FROM clock_timestamp() - min(message.created_at))::float8 AS oldest
      FROM chain_message AS message
           JOIN nft_mint_queue AS task ON task.chain_message_id = message.id
     WHERE message.status = 'unresolved' AND task.status = 'sent'
     GROUP BY task.operation
""")
FAILED_BURNS = text("""
    SELECT count(*)
      FROM (SELECT FROM nft_mint_queue WHERE status = 'failed' AND operation = 'burn'
             ORDER BY nft_instance_id
             LIMIT :limit) AS task
""")
# From the newest of all that happened to tasks: there is no index on what it was.
LAST_CONFIRMED = text("""
    WITH newest AS MATERIALIZED (
         SELECT id, task_id, event, created_at FROM mint_task_event
          ORDER BY id DESC
          LIMIT :limit),
         last AS MATERIALIZED (
         SELECT task_id, created_at FROM newest WHERE event = 'confirmed'
          ORDER BY id DESC
          LIMIT 1)
    SELECT task.operation, type.code, instance.onchain_token_id,
           extract(epoch FROM clock_timestamp() - last.created_at)::float8 AS ago
      FROM last JOIN nft_mint_queue AS task ON task.id = last.task_id
           JOIN nft_instance AS instance ON instance.id = task.nft_instance_id
           JOIN nft_type AS type ON type.id = task.type_id
""")
# Numbered as they come: the newest are those of the last hour, if there are not too many.
DEAD_LETTERS = text("""
    SELECT reason, count(*) AS letters
      FROM (SELECT reason, created_at FROM dead_letter ORDER BY id DESC LIMIT :limit) AS newest
     WHERE created_at > clock_timestamp() - interval '1 hour'
     GROUP BY reason ORDER BY letters DESC, reason
""")
OUTBOX = text("""
    SELECT count(*)
      FROM (SELECT FROM outbox_message WHERE published_at IS NULL
             ORDER BY user_id, seq
             LIMIT :limit) AS message
""")
LEDGER = text("""
    SELECT cluster_id, topic, partition, next_offset,
           extract(epoch FROM clock_timestamp() - updated_at)::float8 AS idle
      FROM offset_ledger
""")
CATALOG = text("""
    SELECT version.id, version.applied_at, job.state, job.users,
           extract(epoch FROM clock_timestamp() - job.updated_at)::float8 AS idle
      FROM catalog_version AS version
           LEFT JOIN catalog_job AS job ON job.state IN ('counters', 'levels', 'metadata')
     WHERE version.is_current
""")
# The token with the highest index of each collection.
NEWEST_TOKENS = text("""
    SELECT collection.id AS collection_id, newest.nft_instance_id
      FROM chain_collection AS collection CROSS JOIN LATERAL (
           SELECT nft_instance_id, status FROM nft_mint_queue
            WHERE chain_collection_id = collection.id AND operation = 'mint'
              AND token_index IS NOT NULL
            ORDER BY chain_collection_id, token_index DESC
            LIMIT 1) AS newest
     WHERE newest.status = 'confirmed'
""")
BOUND_STATEMENTS = text("SET LOCAL statement_timeout = '5s'")


async def bound_statements(conn: Connection) -> None:
    """Let no statement of this transaction take longer than a person waits."""
    await conn.execute(BOUND_STATEMENTS)


async def task_groups(conn: Connection) -> list[TaskGroup]:
    """Return the open tasks by what they are and wait for, those that are due first."""
    found = [_group(row, TaskStatus.PENDING) for row in await conn.execute(WAITING, _LIMIT)]
    found += [_group(row, TaskStatus.SENT) for row in await conn.execute(SENT)]
    holds = [each.value for each in HoldReason]
    found += [
        _group(row, TaskStatus.PENDING, HoldReason(row.hold))
        for row in await conn.execute(HELD, {**_LIMIT, "holds": holds})
    ]
    return found


def _group(row: Row[Any], status: TaskStatus, hold: HoldReason | None = None) -> TaskGroup:
    oldest = max(0.0, row.oldest or 0.0)
    return TaskGroup(TaskOperation(row.operation), status, hold, row.tasks, oldest)


async def due_mints(conn: Connection) -> int:
    """Return how many mints wait for nothing but the minter; COUNTED_MAX and one is more."""
    rows = await conn.execute(WAITING, _LIMIT)
    return sum(row.tasks for row in rows if row.operation == TaskOperation.MINT)


async def failed_burns(conn: Connection) -> int:
    """Return how many revocations wait for a person."""
    return await _number(conn, FAILED_BURNS)


async def last_confirmed(conn: Connection) -> LastToken | None:
    """Return the task that was confirmed last; None: none of the last ten thousand events is."""
    row = (await conn.execute(LAST_CONFIRMED, _LIMIT)).one_or_none()
    if row is None:
        return None
    return LastToken(
        TaskOperation(row.operation), TypeCode(row.code), row.onchain_token_id, max(0.0, row.ago)
    )


async def dead_letters(conn: Connection) -> dict[Reason, int]:
    """Return the dead letters of the last hour by reason, the most first."""
    return {Reason(row.reason): row.letters for row in await conn.execute(DEAD_LETTERS, _LIMIT)}


async def outbox(conn: Connection) -> OutboxDepth:
    """Return what waits to be published."""
    ends = await outbox_table.ends(conn)
    return OutboxDepth(await _number(conn, OUTBOX), ends.oldest_seconds, ends.last_published_at > 0)


async def ledger(conn: Connection) -> Ledger:
    """Return how far each partition is counted, by cluster."""
    found: Ledger = {}
    for row in await conn.execute(LEDGER):
        counted = CountedTo(row.next_offset, max(0.0, row.idle))
        found.setdefault(row.cluster_id, {})[row.topic, row.partition] = counted
    return found


async def catalog(conn: Connection) -> CatalogState | None:
    """Return the catalog in force; None before the first."""
    row = (await conn.execute(CATALOG)).one_or_none()
    if row is None:
        return None
    return CatalogState(row.id, row.applied_at, row.state, row.users or 0, row.idle or 0.0)


async def newest_tokens(conn: Connection) -> Mapping[UUID, UUID]:
    """Return a badge that has its token of each collection that has one: the last minted."""
    rows = await conn.execute(NEWEST_TOKENS)
    return {row.collection_id: row.nft_instance_id for row in rows}


_LIMIT = {"limit": COUNTED_MAX + 1}


async def _number(conn: Connection, statement: TextClause) -> int:
    return int((await conn.execute(statement, _LIMIT)).scalar_one())

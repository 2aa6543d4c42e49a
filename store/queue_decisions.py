"""What operators see of the mint queue, and decide about it: held tasks, failed burns, stops.

A decision is written into the task's history (mint_task_event) with who made it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from store import chain
from store.engine import Connection
from store.ids import id_prefix
from store.values.minting import HoldReason, TaskEvent, TaskOperation, TaskStatus
from store.values.names import RawAddress, TypeCode

TASKS = text("""
    SELECT task.id, task.nft_instance_id, instance.user_id, type.code, task.operation, task.status,
           task.hold_reason, task.retry_count, task.last_error, task.recipient, task.token_index,
           instance.onchain_token_id, message.valid_until, collection.address AS collection,
           task.created_at, task.updated_at
      FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS listed (id, place)
           JOIN nft_mint_queue AS task ON task.id = listed.id
           JOIN nft_instance AS instance ON instance.id = task.nft_instance_id
           JOIN nft_type AS type ON type.id = task.type_id
           LEFT JOIN chain_collection AS collection ON collection.type_id = type.id
           LEFT JOIN chain_message AS message ON message.id = task.chain_message_id
     ORDER BY listed.place
""")

# What a person has to see to comes first; tens of thousands may wait for a wallet.
WAITING = text("""
    WITH wanted AS (
         SELECT hold, place
           FROM unnest(ARRAY['operator', 'recipient', 'breaker', 'no_wallet'])
                WITH ORDINALITY AS reasons (hold, place)
          WHERE CAST(:hold AS text) IS NULL OR hold = CAST(:hold AS text)),
         held AS (
         SELECT picked.id, wanted.place, picked.created_at
           FROM wanted CROSS JOIN LATERAL (
                SELECT task.id, task.created_at FROM nft_mint_queue AS task
                 WHERE task.hold_reason = wanted.hold
                   AND (CAST(:code AS text) IS NULL
                        OR task.type_id = (SELECT id FROM nft_type WHERE code = :code))
                 ORDER BY task.created_at, task.id
                 LIMIT :limit) AS picked),
         failed AS (
         SELECT task.id, 0 AS place, task.created_at
           FROM nft_mint_queue AS task
                JOIN nft_instance AS instance ON instance.id = task.nft_instance_id
          WHERE task.status = 'failed' AND task.operation = 'burn' AND CAST(:hold AS text) IS NULL
            AND instance.status <> 'burned_onchain' AND instance.onchain_token_id IS NOT NULL
            AND (CAST(:code AS text) IS NULL
                 OR task.type_id = (SELECT id FROM nft_type WHERE code = :code))
            AND NOT EXISTS (SELECT 1 FROM nft_mint_queue AS later
                             WHERE later.nft_instance_id = instance.id
                               AND later.operation = 'burn' AND later.status <> 'failed')
          ORDER BY task.created_at, task.id
          LIMIT :limit)
    SELECT id FROM (SELECT * FROM failed UNION ALL SELECT * FROM held) AS task
     ORDER BY place, created_at, id
     LIMIT :limit
""")

EVENTS = text("""
    SELECT event, from_status, to_status, details, created_at
      FROM mint_task_event WHERE task_id = :id ORDER BY id
""")

COLLECTION_OF = text("""
    SELECT collection.id FROM chain_collection AS collection
      JOIN nft_type AS type ON type.id = collection.type_id
     WHERE type.code = :code
""")

# Only what still waits as it was looked at: a minter may have taken it meanwhile.
FREE = text("""
    WITH freed AS (
         UPDATE nft_mint_queue
            SET hold_reason = NULL, run_after = clock_timestamp(), updated_at = clock_timestamp(),
                retry_count = least(retry_count, 1)
          WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'pending' AND hold_reason IS NOT NULL
         RETURNING id),
         history AS (
         INSERT INTO mint_task_event (task_id, event, from_status, to_status, details)
         SELECT id, :event, 'pending', 'pending',
                jsonb_build_object('actor', CAST(:actor AS text), 'reason', CAST(:reason AS text))
           FROM freed)
    SELECT id FROM freed
""")

BURN_AGAIN = text("""
    WITH failed AS (
         SELECT id, nft_instance_id FROM nft_mint_queue
          WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'failed' AND operation = 'burn'),
         added AS (
         INSERT INTO nft_mint_queue (id, nft_instance_id, operation)
         SELECT CAST(:id_prefix || lpad(to_hex(row_number() OVER (ORDER BY nft_instance_id)),
                                        8, '0') AS uuid),
                nft_instance_id, 'burn'
           FROM failed ORDER BY nft_instance_id
             ON CONFLICT (nft_instance_id, operation) WHERE status IN ('pending', 'sent') DO NOTHING
         RETURNING id, nft_instance_id),
         history AS (
         INSERT INTO mint_task_event (task_id, event, to_status, details)
         SELECT added.id, :event, 'pending',
                jsonb_build_object('actor', CAST(:actor AS text), 'reason', CAST(:reason AS text),
                                   'after', failed.id)
           FROM added JOIN failed USING (nft_instance_id))
    SELECT failed.id FROM added JOIN failed USING (nft_instance_id)
""")

DECIDED = text("""
    INSERT INTO collection_decision (type_code, stopped_reason, reason, actor)
    VALUES (:code, :was, :reason, :actor)
""")

STOPS = text("""
    SELECT type.code, collection.address, collection.stopped_reason, collection.updated_at
      FROM chain_collection AS collection JOIN nft_type AS type ON type.id = collection.type_id
     WHERE collection.stopped_reason IS NOT NULL
     ORDER BY type.code
""")


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """A task as an operator sees it. `valid_until` is that of the last message signed for it."""

    id: UUID
    nft_instance_id: UUID
    user_id: UUID
    type_code: TypeCode
    operation: TaskOperation
    status: TaskStatus
    hold_reason: HoldReason | None
    retry_count: int
    last_error: str | None
    recipient: RawAddress | None
    token_index: int | None
    token_id: RawAddress | None
    valid_until: datetime | None
    collection: RawAddress | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoppedCollection:
    """A collection for which nothing is signed before a person has looked."""

    type_code: TypeCode
    address: RawAddress
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class TaskHistory:
    """One line of a task's history."""

    event: TaskEvent
    from_status: TaskStatus | None
    to_status: TaskStatus
    details: dict[str, Any]
    created_at: datetime


async def waiting(
    conn: Connection, *, hold: HoldReason | None, code: str | None, limit: int
) -> list[WaitingTask]:
    """Return tasks that wait, by reason and age: what a person has to see to comes first.

    Failed burns whose token stands, then parked tasks, recipients, the breaker, missing wallets.
    """
    parameters = {"hold": hold and hold.value, "code": code, "limit": limit}
    ids = (await conn.execute(WAITING, parameters)).scalars()
    return await by_id(conn, list(ids))


async def by_id(conn: Connection, ids: Sequence[UUID]) -> list[WaitingTask]:
    """Return tasks by id, in whatever state and in that order; missing ones are absent."""
    return [_task(row) for row in await conn.execute(TASKS, {"ids": list(ids)})]


async def history(conn: Connection, task_id: UUID) -> list[TaskHistory]:
    """Return what happened to a task, oldest first."""
    return [
        TaskHistory(
            TaskEvent(row.event),
            TaskStatus(row.from_status) if row.from_status else None,
            TaskStatus(row.to_status),
            dict(row.details),
            row.created_at,
        )
        for row in await conn.execute(EVENTS, {"id": task_id})
    ]


async def stopped(conn: Connection) -> list[StoppedCollection]:
    """Return the collections that are stopped, by type code."""
    return [
        StoppedCollection(
            TypeCode(row.code), RawAddress(row.address), row.stopped_reason, row.updated_at
        )
        for row in await conn.execute(STOPS)
    ]


async def free(
    conn: Connection, ids: Sequence[UUID], event: TaskEvent, *, actor: str, reason: str | None
) -> frozenset[UUID]:
    """Let held tasks go on, with all their signatures before them; return which ones did."""
    parameters = {"ids": list(ids), "event": event.value, "actor": actor, "reason": reason}
    return frozenset((await conn.execute(FREE, parameters)).scalars())


async def burn_again(
    conn: Connection, ids: Sequence[UUID], *, actor: str, reason: str | None
) -> frozenset[UUID]:
    """Enqueue a new burn for each failed one; return the failed ones that have one now."""
    parameters = {
        "ids": list(ids),
        "event": TaskEvent.RETRIED.value,
        "actor": actor,
        "reason": reason,
        "id_prefix": id_prefix(),
    }
    return frozenset((await conn.execute(BURN_AGAIN, parameters)).scalars())


async def go_on(conn: Connection, code: str, *, actor: str, reason: str | None) -> str | None:
    """End a collection's stop, and write down who did; return why it was stopped.

    None where it was not.
    """
    collection_id = (await conn.execute(COLLECTION_OF, {"code": code})).scalar_one_or_none()
    if collection_id is None:
        return None
    collection = await chain.lock_collection(conn, collection_id)
    was = collection.stopped_reason
    if was is not None:
        await chain.stop_collection(conn, collection_id, None)
        decision = {"code": code, "was": was, "reason": reason, "actor": actor}
        await conn.execute(DECIDED, decision)
    return was


def _task(row: Row[Any]) -> WaitingTask:
    return WaitingTask(
        row.id,
        row.nft_instance_id,
        row.user_id,
        TypeCode(row.code),
        TaskOperation(row.operation),
        TaskStatus(row.status),
        HoldReason(row.hold_reason) if row.hold_reason else None,
        row.retry_count,
        row.last_error,
        RawAddress(row.recipient) if row.recipient else None,
        row.token_index,
        RawAddress(row.onchain_token_id) if row.onchain_token_id else None,
        row.valid_until,
        RawAddress(row.collection) if row.collection else None,
        row.created_at,
        row.updated_at,
    )

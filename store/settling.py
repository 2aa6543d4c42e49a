"""Sign and settle leased tasks, with all that follows for their badges, the audit log and the outbox.

These functions own the transitions of a task (with queue.cancel_unsigned_mints and
reconciling.adopt). Every UPDATE names the state it expects and the lease; a row less than expected
raises LeaseLost, and the caller's whole transaction is undone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from store import audit, mint_queue, outbox
from store.chain import MessageRecord
from store.claiming import LeasedTask, all_of
from store.engine import Connection
from store.values import (
    Actor,
    AuditAction,
    AuditEntry,
    HoldReason,
    InstanceStatus,
    LeaseToken,
    OutboxEntry,
    OutboxType,
    RawAddress,
    TaskOperation,
    TaskStatus,
    TokenEnd,
)

# (from, to) -> the functions that may make it happen; docs/mint-lifecycle.md draws the same, and a
# test holds both equal.
TRANSITIONS: dict[tuple[TaskStatus, TaskStatus], str] = {
    (TaskStatus.PENDING, TaskStatus.SENT): "settling.sign",
    (TaskStatus.PENDING, TaskStatus.CONFIRMED): "settling.settle, reconciling.adopt",
    (TaskStatus.PENDING, TaskStatus.FAILED): "settling.settle, queue.cancel_unsigned_mints",
    (TaskStatus.SENT, TaskStatus.CONFIRMED): "settling.settle",
    (TaskStatus.SENT, TaskStatus.PENDING): "settling.settle",
    (
        TaskStatus.SENT,
        TaskStatus.FAILED,
    ): "settling.settle",  # a burn; a signed mint keeps its index and is parked instead
    (TaskStatus.FAILED, TaskStatus.CONFIRMED): "reconciling.adopt",
}
# A mint whose message is void goes before all others: the indexes behind its own cannot be minted
# before it.
PRIORITY_AGAIN = -1


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a task gets by being signed.

    `recipient` is None for a burn, whose index is the token's.
    """

    task_id: UUID
    token_index: int
    recipient: RawAddress | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """A transition of one leased task.

    `token_id`: the item's address where a mint is confirmed. `token_end`: how its token was
    seen to end, None where it was not. `hold_reason` parks a pending task; `drop_index` gives its index up for ever.
    """

    leased: LeasedTask
    to_status: TaskStatus
    event: str
    reason: str | None = None
    hold_reason: HoldReason | None = None
    drop_index: bool = False
    token_id: RawAddress | None = None
    token_end: TokenEnd | None = None


SIGN = text("""
    WITH given AS (
         SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:indexes AS bigint[]), CAST(:recipients AS text[]))
                AS listed (id, token_index, recipient)),
         signed AS (
         UPDATE nft_mint_queue AS task
            SET status = 'sent', chain_message_id = :message_id, chain_collection_id = :collection_id, token_index = given.token_index,
                recipient = given.recipient, last_error = NULL, updated_at = clock_timestamp(),
                retry_count = task.retry_count + CASE WHEN task.chain_message_id IS NULL THEN 0 ELSE 1 END
           FROM given
          WHERE task.id = given.id AND task.status = 'pending' AND task.hold_reason IS NULL
            AND task.lease_token = :lease AND task.lease_expires_at > clock_timestamp()
         RETURNING task.id, task.retry_count),
         history AS (
         INSERT INTO mint_task_event (task_id, event, from_status, to_status, details)
         SELECT id, 'signed', 'pending', 'sent', jsonb_build_object('message', CAST(:message_hash AS text), 'attempt', retry_count + 1)
           FROM signed)
    SELECT count(*) FROM signed
""")

SETTLE = text("""
    WITH given AS (
         SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:from_statuses AS text[]), CAST(:to_statuses AS text[]), CAST(:events AS text[]),
                              CAST(:reasons AS text[]), CAST(:holds AS text[]), CAST(:drops AS boolean[]))
                AS listed (id, from_status, to_status, event, reason, hold_reason, drop_index)),
         moved AS (
         UPDATE nft_mint_queue AS task
            SET status = given.to_status, last_error = given.reason, hold_reason = given.hold_reason,
                token_index = CASE WHEN given.drop_index THEN NULL ELSE task.token_index END,
                priority = CASE WHEN given.to_status = 'pending' AND task.token_index IS NOT NULL
                                THEN :priority_again ELSE task.priority END,
                run_after = clock_timestamp(), lease_token = NULL, lease_expires_at = NULL, updated_at = clock_timestamp()
           FROM given
          WHERE task.id = given.id AND task.status = given.from_status
            AND task.lease_token = :lease AND task.lease_expires_at > clock_timestamp()
         RETURNING task.id, given.event, given.from_status, given.to_status, given.reason),
         history AS (
         INSERT INTO mint_task_event (task_id, event, from_status, to_status, details)
         SELECT id, event, from_status, to_status, jsonb_strip_nulls(jsonb_build_object('reason', reason)) FROM moved)
    SELECT count(*) FROM moved
""")

LOCK_INSTANCES = text("""
    SELECT instance.id, instance.user_id, instance.tenant_id, instance.status, instance.current_level, type.code
      FROM nft_instance AS instance JOIN nft_type AS type ON type.id = instance.type_id
     WHERE instance.id = ANY(CAST(:ids AS uuid[]))
     ORDER BY instance.id
       FOR UPDATE OF instance
""")

MINTED = text("""
    UPDATE nft_instance AS instance
       SET onchain_status = 'minted', onchain_token_id = given.token_id, updated_at = clock_timestamp()
      FROM unnest(CAST(:ids AS uuid[]), CAST(:tokens AS text[])) AS given (id, token_id)
     WHERE instance.id = given.id
""")

BURNED = text("""
    UPDATE nft_instance SET status = 'burned_onchain', updated_at = clock_timestamp()
     WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'active'
""")

MINT_FAILED = text("""
    UPDATE nft_instance SET onchain_status = 'failed', updated_at = clock_timestamp()
     WHERE id = ANY(CAST(:ids AS uuid[])) AND onchain_status = 'pending'
""")


async def sign(
    conn: Connection,
    lease: LeaseToken,
    *,
    message: MessageRecord,
    leased: Sequence[LeasedTask],
    assignments: Sequence[Assignment],
) -> None:
    """Pending -> sent, with `message`, which was written in the same transaction; audit.

    Submitted_onchain.

    Raises:
        LeaseLost: a task was cancelled, or taken over.
    """
    parameters = {
        "ids": [given.task_id for given in assignments],
        "indexes": [given.token_index for given in assignments],
        "recipients": [given.recipient for given in assignments],
        "message_id": message.id,
        "message_hash": message.message_hash.hex(),
        "collection_id": message.chain_collection_id,
        "lease": lease,
    }
    all_of(int((await conn.execute(SIGN, parameters)).scalar_one()), len(assignments))
    by_id = {work.task.id: work for work in leased}
    entries = []
    for given in assignments:
        task = by_id[given.task_id].task
        details = {
            "task_id": str(task.id),
            "operation": task.operation.value,
            "index": given.token_index,
            "attempt": task.attempt + 1,
            "message_hash": message.message_hash.hex(),
        }
        entries.append(
            AuditEntry(
                task.nft_instance_id, AuditAction.SUBMITTED_ONCHAIN, Actor.SYSTEM.value, details
            )
        )
    await audit.append(conn, entries)


async def settle(
    conn: Connection, lease: LeaseToken, settlements: Sequence[Settlement], occurred_at: datetime
) -> None:
    """Write what the chain said about leased tasks.

    The tasks, their badges, audit and outbox, all or nothing.

    Args:
        conn: a transaction of the caller's; it holds the lock of the message, if there is one.
        lease: the token that marks the rows.
        settlements: each names a transition of TRANSITIONS; its task's lease ends with it.
        occurred_at: the time of the block that showed it.

    Raises:
        LeaseLost: a task is not ours any more, or not in the state it was claimed in.
    """
    if not settlements:
        return
    badges = await locked_badges(conn, [item.leased.task.nft_instance_id for item in settlements])
    moved = await conn.execute(
        SETTLE,
        {
            "ids": [item.leased.task.id for item in settlements],
            "from_statuses": [item.leased.task.status.value for item in settlements],
            "to_statuses": [item.to_status.value for item in settlements],
            "events": [item.event for item in settlements],
            "reasons": [item.reason for item in settlements],
            "holds": [item.hold_reason.value if item.hold_reason else None for item in settlements],
            "drops": [item.drop_index for item in settlements],
            "lease": lease,
            "priority_again": PRIORITY_AGAIN,
        },
    )
    all_of(int(moved.scalar_one()), len(settlements))
    minted = [
        (item.leased.task.nft_instance_id, item.token_id)
        for item in settlements
        if item.token_id is not None
    ]
    # Each burn is told once: reconcile may have seen the owner destroy it before the task that was
    # to burn it.
    ended = [
        (item.leased.task.nft_instance_id, item.token_end)
        for item in settlements
        if item.token_end is not None
        and badges[item.leased.task.nft_instance_id].status != InstanceStatus.BURNED_ONCHAIN
    ]
    failed = [
        item.leased.task.nft_instance_id
        for item in settlements
        if item.to_status is TaskStatus.FAILED and item.leased.task.operation is TaskOperation.MINT
    ]
    if failed:
        await conn.execute(MINT_FAILED, {"ids": failed})
    await write_minted(conn, minted, badges)
    await mint_queue.enqueue(
        conn,
        [
            mint_queue.NewTask(instance_id, TaskOperation.BURN)
            for instance_id, _ in minted
            if badges[instance_id].status == InstanceStatus.REVOKED
            and instance_id not in dict(ended)
        ],
    )
    await write_ended(conn, ended, badges)
    await write_outbox(conn, minted, ended, badges, occurred_at)


async def write_minted(
    conn: Connection,
    minted: Sequence[tuple[UUID, RawAddress]],
    badges: dict[UUID, Row[Any]],
    *,
    actor: str = Actor.SYSTEM,
) -> None:
    """Mark badges minted, with their token ids; audit: minted_onchain. `badges` are locked."""
    if not minted:
        return
    await conn.execute(
        MINTED,
        {"ids": [badge for badge, _ in minted], "tokens": [token_id for _, token_id in minted]},
    )
    entries = [
        AuditEntry(
            badge,
            AuditAction.MINTED_ONCHAIN,
            actor,
            {"token_id": token_id, "level": badges[badge].current_level},
        )
        for badge, token_id in minted
    ]
    await audit.append(conn, entries)


async def write_ended(
    conn: Connection,
    ended: Sequence[tuple[UUID, TokenEnd]],
    badges: dict[UUID, Row[Any]],
    *,
    actor: str = Actor.SYSTEM,
) -> None:
    """Mark active badges burned_onchain (a revoked one stays revoked); audit: burned_onchain.

    `badges` are locked.
    """
    if not ended:
        return
    await conn.execute(BURNED, {"ids": [badge for badge, _ in ended]})
    entries = [
        AuditEntry(
            badge,
            AuditAction.BURNED_ONCHAIN,
            actor,
            {"how": end, "status_before": badges[badge].status},
        )
        for badge, end in ended
    ]
    await audit.append(conn, entries)


async def write_outbox(
    conn: Connection,
    minted: Sequence[tuple[UUID, RawAddress]],
    ended: Sequence[tuple[UUID, TokenEnd]],
    badges: dict[UUID, Row[Any]],
    occurred_at: datetime,
) -> None:
    """Tell others of badges minted and burned; last in the transaction (lock order)."""
    entries = [
        _outbox(OutboxType.BADGE_MINTED, badges[badge], {"token_id": token_id}, occurred_at)
        for badge, token_id in minted
    ]
    entries += [
        _outbox(OutboxType.BADGE_BURNED, badges[badge], {"how": end}, occurred_at)
        for badge, end in ended
    ]
    await outbox.append(conn, entries)


async def locked_badges(conn: Connection, instance_ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """Lock instances in the order of their ids.

    Return id -> row (user_id, tenant_id, status, current_level, code).
    """
    rows = await conn.execute(LOCK_INSTANCES, {"ids": sorted(set(instance_ids))})
    return {row.id: row for row in rows}


def _outbox(
    event_type: OutboxType, badge: Row[Any], more: dict[str, object], occurred_at: datetime
) -> OutboxEntry:
    payload = {
        "instance_id": str(badge.id),
        "type_code": badge.code,
        "level": badge.current_level,
        "user_id": str(badge.user_id),
        **more,
    }
    return OutboxEntry(badge.user_id, badge.tenant_id, event_type, payload, occurred_at)

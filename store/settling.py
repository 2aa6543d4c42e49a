"""Sign and settle leased tasks, with all that follows for badges, the audit log and the outbox.

These functions own the transitions of a task (with mint_queue.cancel_unsigned_mints and
reconciliation.adopt). Every UPDATE names the state it expects and the lease; a row less than
expected raises LeaseLost, and the caller's whole transaction is undone. What follows for badges is
decided by settlement_effects.effects, which is pure, and written here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from store import audit, mint_queue, outbox
from store.chain_messages import MessageRecord
from store.claiming import all_of
from store.engine import Connection
from store.mint_queue import NewTask
from store.settlement_effects import (
    Effects,
    LockedBadge,
    Settlement,
    audit_entries,
    effects,
    outbox_entries,
)
from store.values.badges import Actor, AuditAction, AuditEntry, InstanceStatus
from store.values.minting import LeasedTask, TaskEvent, TaskOperation, TaskStatus
from store.values.names import LeaseToken, RawAddress, TypeCode

# (from, to) -> the functions that may make it happen; docs/mint-lifecycle.md draws the same, and a
# test holds both equal. Only a burn goes from sent to failed: a signed mint keeps its index, and is
# parked instead.
TRANSITIONS: dict[tuple[TaskStatus, TaskStatus], str] = {
    (TaskStatus.PENDING, TaskStatus.SENT): "settling.sign",
    (TaskStatus.PENDING, TaskStatus.CONFIRMED): "settling.settle, reconciliation.adopt",
    (TaskStatus.PENDING, TaskStatus.FAILED): "settling.settle, mint_queue.cancel_unsigned_mints",
    (TaskStatus.SENT, TaskStatus.CONFIRMED): "settling.settle",
    (TaskStatus.SENT, TaskStatus.PENDING): "settling.settle",
    (TaskStatus.SENT, TaskStatus.FAILED): "settling.settle",
    (TaskStatus.FAILED, TaskStatus.CONFIRMED): "reconciliation.adopt",
}
# A mint whose message is void goes before all others: the indexes behind its own cannot be minted
# before it.
PRIORITY_AGAIN = -1


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a task gets by being signed.

    `recipient` is None for a burn, whose index is the token's.
    """

    task: LeasedTask
    token_index: int
    recipient: RawAddress | None


SIGN = text("""
    WITH given AS (
         SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:indexes AS bigint[]),
                              CAST(:recipients AS text[]))
                AS listed (id, token_index, recipient)),
         signed AS (
         UPDATE nft_mint_queue AS task
            SET status = 'sent', chain_message_id = :message_id,
                chain_collection_id = :collection_id, token_index = given.token_index,
                recipient = given.recipient, last_error = NULL, updated_at = clock_timestamp(),
                retry_count = task.retry_count
                            + CASE WHEN task.chain_message_id IS NULL THEN 0 ELSE 1 END
           FROM given, nft_instance AS instance
          WHERE task.id = given.id AND task.status = 'pending' AND task.hold_reason IS NULL
            AND task.lease_token = :lease AND task.lease_expires_at > clock_timestamp()
            AND instance.id = task.nft_instance_id
            -- A badge that has its token gets no second one, whoever asks.
            AND (task.operation <> 'mint'
                 OR (instance.onchain_status <> 'minted'
                     AND NOT EXISTS (SELECT 1 FROM nft_audit_log AS audit
                                      WHERE audit.nft_instance_id = instance.id
                                        AND audit.action = 'minted_onchain')))
         RETURNING task.id, task.retry_count),
         history AS (
         INSERT INTO mint_task_event (task_id, event, from_status, to_status, details)
         SELECT id, :event, 'pending', 'sent',
                jsonb_build_object('message', CAST(:message_hash AS text),
                                   'attempt', retry_count + 1)
           FROM signed)
    SELECT count(*) FROM signed
""")

SETTLE = text("""
    WITH given AS (
         SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:from_statuses AS text[]),
                              CAST(:to_statuses AS text[]), CAST(:events AS text[]),
                              CAST(:reasons AS text[]), CAST(:holds AS text[]),
                              CAST(:drops AS boolean[]), CAST(:unexecuted AS boolean[]))
                AS listed (id, from_status, to_status, event, reason, hold_reason, drop_index,
                           unexecuted)),
         moved AS (
         UPDATE nft_mint_queue AS task
            SET status = given.to_status, last_error = given.reason,
                hold_reason = given.hold_reason,
                chain_message_id = CASE WHEN given.unexecuted THEN NULL
                                        ELSE task.chain_message_id END,
                recipient = CASE WHEN given.unexecuted AND task.retry_count = 0 THEN NULL
                                 ELSE task.recipient END,
                token_index = CASE WHEN given.drop_index THEN NULL ELSE task.token_index END,
                priority = CASE WHEN given.to_status = 'pending' AND task.token_index IS NOT NULL
                                THEN :priority_again ELSE task.priority END,
                lease_token = NULL, lease_expires_at = NULL, updated_at = clock_timestamp()
           FROM given
          WHERE task.id = given.id AND task.status = given.from_status
            AND task.lease_token = :lease AND task.lease_expires_at > clock_timestamp()
         RETURNING task.id, given.event, given.from_status, given.to_status, given.reason),
         history AS (
         INSERT INTO mint_task_event (task_id, event, from_status, to_status, details)
         SELECT id, event, from_status, to_status,
                jsonb_strip_nulls(jsonb_build_object('reason', reason))
           FROM moved)
    SELECT count(*) FROM moved
""")

LOCK_INSTANCES = text("""
    SELECT instance.id, instance.user_id, instance.tenant_id, type.code, instance.status,
           instance.current_level, instance.onchain_token_id
      FROM nft_instance AS instance JOIN nft_type AS type ON type.id = instance.type_id
     WHERE instance.id = ANY(CAST(:ids AS uuid[]))
     ORDER BY instance.id
       FOR UPDATE OF instance
""")

MINTED = text("""
    UPDATE nft_instance AS instance
       SET onchain_status = 'minted', onchain_token_id = given.token_id,
           updated_at = clock_timestamp()
      FROM unnest(CAST(:ids AS uuid[]), CAST(:tokens AS text[])) AS given (id, token_id)
     WHERE instance.id = given.id
""")

# A revoked badge stays revoked.
BURNED = text("""
    UPDATE nft_instance SET status = 'burned_onchain', updated_at = clock_timestamp()
     WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'active'
""")

MINT_FAILED = text("""
    UPDATE nft_instance SET onchain_status = 'failed', updated_at = clock_timestamp()
     WHERE id = ANY(CAST(:ids AS uuid[])) AND onchain_status = 'pending'
""")


async def sign(
    conn: Connection, lease: LeaseToken, message: MessageRecord, assignments: Sequence[Assignment]
) -> None:
    """Move tasks from pending to sent, with `message`; audit: submitted_onchain.

    Args:
        conn: the transaction that wrote `message`.
        lease: that of the tasks.
        message: carries an action for each of them.
        assignments: each task, with its index and recipient.

    Raises:
        LeaseLost: a task was cancelled, or taken over, or its badge has its token by now.
    """
    parameters = {
        "ids": [each.task.id for each in assignments],
        "indexes": [each.token_index for each in assignments],
        "recipients": [each.recipient for each in assignments],
        "message_id": message.id,
        "message_hash": message.message_hash.hex(),
        "collection_id": message.chain_collection_id,
        "lease": lease,
        "event": TaskEvent.SIGNED.value,
    }
    all_of(int((await conn.execute(SIGN, parameters)).scalar_one()), len(assignments))
    await audit.append(conn, [_submitted(each, message) for each in assignments])


async def settle(
    conn: Connection, lease: LeaseToken, settlements: Sequence[Settlement], occurred_at: datetime
) -> None:
    """Write what the chain said about leased tasks: tasks, badges, audit and outbox, or nothing.

    Args:
        conn: a transaction of the caller's; it holds the lock of the message, if there is one.
        lease: that of the tasks; it ends with the settlement.
        settlements: each names a transition of TRANSITIONS.
        occurred_at: the time of the block that showed it.

    Raises:
        LeaseLost: a task is not ours any more, or not in the state it was claimed in.
    """
    if not settlements:
        return
    badges = await locked_badges(conn, [each.task.nft_instance_id for each in settlements])
    moved = await conn.execute(SETTLE, {**_columns(settlements), "lease": lease})
    all_of(int(moved.scalar_one()), len(settlements))
    await write(conn, effects(settlements, badges), occurred_at)


async def write(
    conn: Connection, found: Effects, occurred_at: datetime, *, actor: Actor = Actor.SYSTEM
) -> None:
    """Write what follows for badges that the caller has locked; the outbox last (lock order)."""
    if found.failed_mints:
        await conn.execute(MINT_FAILED, {"ids": list(found.failed_mints)})
    if found.minted:
        ids = [each.badge.id for each in found.minted]
        tokens = [each.token_id for each in found.minted]
        await conn.execute(MINTED, {"ids": ids, "tokens": tokens})
    await mint_queue.enqueue(conn, [NewTask(badge, TaskOperation.BURN) for badge in found.burns])
    if found.ended:
        await conn.execute(BURNED, {"ids": [each.badge.id for each in found.ended]})
    await audit.append(conn, audit_entries(found, actor))
    await outbox.append(conn, outbox_entries(found, occurred_at))


async def locked_badges(conn: Connection, instance_ids: Sequence[UUID]) -> dict[UUID, LockedBadge]:
    """Lock instances in the order of their ids; return them by id."""
    rows = await conn.execute(LOCK_INSTANCES, {"ids": sorted(set(instance_ids))})
    return {
        row.id: LockedBadge(
            row.id,
            row.user_id,
            row.tenant_id,
            TypeCode(row.code),
            InstanceStatus(row.status),
            row.current_level,
            RawAddress(row.onchain_token_id) if row.onchain_token_id else None,
        )
        for row in rows
    }


def _columns(settlements: Sequence[Settlement]) -> dict[str, object]:
    return {
        "ids": [each.task.id for each in settlements],
        "from_statuses": [each.task.status.value for each in settlements],
        "to_statuses": [each.to_status.value for each in settlements],
        "events": [each.event.value for each in settlements],
        "reasons": [each.reason for each in settlements],
        "holds": [each.hold_reason and each.hold_reason.value for each in settlements],
        "drops": [each.drop_index for each in settlements],
        "unexecuted": [each.unexecuted for each in settlements],
        "priority_again": PRIORITY_AGAIN,
    }


def _submitted(assignment: Assignment, message: MessageRecord) -> AuditEntry:
    task = assignment.task
    details = {
        "task_id": str(task.id),
        "operation": task.operation.value,
        "index": assignment.token_index,
        "attempt": task.attempt + 1,
        "message_hash": message.message_hash.hex(),
    }
    return AuditEntry(task.nft_instance_id, AuditAction.SUBMITTED_ONCHAIN, Actor.SYSTEM, details)

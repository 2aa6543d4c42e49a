"""The mint queue under leases: claim, renew, release.

The lease (its token, its expiry) is apart from the state. Every UPDATE of a leased task names the
lease and that it has not run out by the database's clock: an expired minter can never finish what
another one took over. What a lease allows is in store/settling.py.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from ops.errors import LeaseLost
from store.engine import Connection
from store.values.badges import Actor
from store.values.minting import HoldReason, LeasedTask, TaskEvent, TaskOperation, TaskStatus
from store.values.names import LeaseToken, RawAddress, TypeCode

# Since when a task waits for nobody but the minter: not for a wallet, a person or a shut breaker,
# and of a revocation not for its badge's mint. Whoever frees a task sets both instants; a delay
# (`release`) moves run_after alone, and is the minter's own.
_READY_AT = """\
greatest(least(taken.run_after, taken.updated_at),
                    (SELECT max(mint.updated_at) FROM nft_mint_queue AS mint
                      WHERE taken.operation <> 'mint' AND mint.operation = 'mint'
                        AND mint.nft_instance_id = taken.nft_instance_id
                        AND mint.status = 'confirmed')) AS ready_at"""

# How long a task waited for its user's wallet: to the link that stands, by its event's own time,
# and no longer than to its being free. One that has no wallet now is held and not signed.
_WALLET_WAIT = """\
greatest(least((SELECT max(wallet.linked_at) FROM user_wallet AS wallet
                            WHERE wallet.user_id = instance.user_id), taken.run_after)
                      - taken.created_at, interval '0') AS wallet_wait"""


def _has_revocations(operation: str) -> str:
    """Return SQL: whether a type has such tasks that are due, of badges whose mint is over."""
    return f"""\
                (SELECT true FROM nft_mint_queue AS task
                  WHERE task.type_id = type.id AND task.operation = '{operation}'
                    AND task.status = 'pending' AND task.hold_reason IS NULL
                    AND task.run_after <= now()
                    AND (task.lease_expires_at IS NULL OR task.lease_expires_at < now())
                    AND NOT EXISTS (SELECT 1 FROM nft_mint_queue AS mint
                                     WHERE mint.nft_instance_id = task.nft_instance_id
                                       AND mint.operation = 'mint'
                                       AND mint.status IN ('pending', 'sent'))
                  ORDER BY task.type_id, task.operation, task.priority, task.run_after
                  LIMIT 1)"""  # noqa: S608 - one of two words


# Type by type, so that a busy type's backlog costs the others nothing; of each one operation, as a
# message has one: revocations and mints take turns, and neither waits for all of the other's
# backlog, nor for money where the other costs less.
# ORDER BY and LIMIT 1 in place of EXISTS: else a large queue is read from its begin.
# Two clocks on purpose: now() is constant in a statement, so an index condition may hold it, and a
# little late only means "claimed by the next turn"; clock_timestamp() starts the lease at the true
# time, also at the end of a long transaction.
# The audit log can only grow: it knows a token also where the other tables were restored alone.
# In a CTE: inside IN (...) a SKIP LOCKED sub-select may be run again and lock more than its limit.
CLAIM_DUE = text(f"""
    WITH idle AS MATERIALIZED (
         SELECT type.id,
                type.id <> ALL(CAST(:without_mints AS uuid[])) AND
                (SELECT true FROM nft_mint_queue AS task
                  WHERE task.type_id = type.id AND task.operation = 'mint'
                    AND task.status = 'pending' AND task.hold_reason IS NULL
                    AND task.run_after <= now()
                    AND (task.lease_expires_at IS NULL OR task.lease_expires_at < now())
                  ORDER BY task.type_id, task.operation, task.priority, task.run_after
                  LIMIT 1) AS has_mints,
                type.id <> ALL(CAST(:without_burns AS uuid[])) AND
{_has_revocations("burn")} AS has_burns,
                type.id <> ALL(CAST(:without_burns AS uuid[])) AND
{_has_revocations("revoke_second")} AS has_seconds,
                (SELECT message.kind = 'burn' FROM chain_message AS message
                  WHERE message.chain_collection_id = collection.id
                  ORDER BY message.query_seq DESC
                  LIMIT 1) AS burned_last
           FROM nft_type AS type
                LEFT JOIN chain_collection AS collection ON collection.type_id = type.id
          WHERE type.id <> ALL(CAST(:busy AS uuid[]))
            AND NOT EXISTS (SELECT 1 FROM chain_message AS message
                             WHERE message.chain_collection_id = collection.id
                               AND message.status = 'unresolved')),
         due AS MATERIALIZED (
         SELECT picked.id
           FROM idle CROSS JOIN LATERAL (
                SELECT task.id FROM nft_mint_queue AS task
                 WHERE task.type_id = idle.id
                   AND task.operation =
                       CASE WHEN idle.has_mints AND idle.burned_last THEN 'mint'
                            WHEN idle.has_seconds THEN 'revoke_second'
                            WHEN idle.has_burns THEN 'burn' ELSE 'mint' END
                   AND task.status = 'pending' AND task.hold_reason IS NULL
                   AND task.run_after <= now()
                   AND (task.lease_expires_at IS NULL OR task.lease_expires_at < now())
                   AND (task.operation = 'mint'
                        OR NOT EXISTS (SELECT 1 FROM nft_mint_queue AS mint
                                        WHERE mint.nft_instance_id = task.nft_instance_id
                                          AND mint.operation = 'mint'
                                          AND mint.status IN ('pending', 'sent')))
                 ORDER BY task.type_id, task.operation, task.priority, task.run_after
                 LIMIT :limit
                   FOR UPDATE OF task SKIP LOCKED) AS picked
          WHERE idle.has_mints OR idle.has_burns OR idle.has_seconds),
         taken AS (
         UPDATE nft_mint_queue AS task
            SET lease_token = :lease, lease_expires_at = clock_timestamp() + :ttl
           FROM due WHERE task.id = due.id
         RETURNING task.*)
    SELECT taken.*, instance.user_id, type.code, instance.onchain_token_id,
           instance.onchain_status = 'minted'
             OR EXISTS (SELECT 1 FROM nft_audit_log AS audit
                         WHERE audit.nft_instance_id = instance.id
                           AND audit.action = 'minted_onchain') AS is_minted,
           {_READY_AT},
           {_WALLET_WAIT}
      FROM taken JOIN nft_instance AS instance ON instance.id = taken.nft_instance_id
           JOIN nft_type AS type ON type.id = taken.type_id
     ORDER BY taken.priority, taken.run_after
""")  # noqa: S608 - of the above

# By way of the few unresolved messages: the queue may hold a million rows that are not due.
CLAIM_SENT = text(f"""
    WITH due AS MATERIALIZED (
         SELECT task.id
           FROM chain_message AS message
                JOIN nft_mint_queue AS task ON task.chain_message_id = message.id
                JOIN chain_collection AS collection ON collection.id = message.chain_collection_id
          WHERE message.status = 'unresolved' AND task.status = 'sent'
            AND (task.lease_expires_at IS NULL OR task.lease_expires_at < now())
            AND collection.type_id <> ALL(CAST(:busy AS uuid[]))
          ORDER BY task.id
            FOR UPDATE OF task SKIP LOCKED),
         taken AS (
         UPDATE nft_mint_queue AS task
            SET lease_token = :lease, lease_expires_at = clock_timestamp() + :ttl
           FROM due WHERE task.id = due.id
         RETURNING task.*)
    SELECT taken.*, instance.user_id, type.code, instance.onchain_token_id,
           instance.onchain_status = 'minted' AS is_minted, {_READY_AT},
           interval '0' AS wallet_wait
      FROM taken JOIN nft_instance AS instance ON instance.id = taken.nft_instance_id
           JOIN nft_type AS type ON type.id = taken.type_id
     ORDER BY taken.chain_message_id, taken.token_index
""")  # noqa: S608 - of the above

# The lease of another minter is overwritten: the caller holds the collection's lock and knows that
# it has no unresolved message, so whoever leased these has signed nothing.
TAKE_RESERVED = text("""
    WITH taken AS (
         UPDATE nft_mint_queue AS task
            SET lease_token = CASE WHEN hold_reason IS NULL THEN CAST(:lease AS uuid) END,
                lease_expires_at = CASE WHEN hold_reason IS NULL
                                        THEN clock_timestamp() + :ttl END
          WHERE chain_collection_id = :collection_id AND operation = 'mint'
            AND token_index IS NOT NULL AND status = 'pending'
         RETURNING task.*)
    SELECT taken.*, instance.user_id, type.code, instance.onchain_token_id,
           instance.onchain_status = 'minted'
             OR EXISTS (SELECT 1 FROM nft_audit_log AS audit
                         WHERE audit.nft_instance_id = instance.id
                           AND audit.action = 'minted_onchain') AS is_minted,
           taken.run_after AS ready_at, interval '0' AS wallet_wait
      FROM taken JOIN nft_instance AS instance ON instance.id = taken.nft_instance_id
           JOIN nft_type AS type ON type.id = taken.type_id
     ORDER BY taken.token_index
""")

TAKE_PARKED = text("""
    WITH taken AS (
         UPDATE nft_mint_queue
            SET hold_reason = NULL, lease_token = :lease,
                lease_expires_at = clock_timestamp() + :ttl, updated_at = clock_timestamp()
          WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'pending'
            AND hold_reason = 'operator'
         RETURNING id)
    INSERT INTO mint_task_event (task_id, event, from_status, to_status, details)
    SELECT id, :event, 'pending', 'pending', jsonb_build_object('actor', CAST(:actor AS text))
      FROM taken
""")

GIVE_UP_INDEXES = text("""
    UPDATE nft_mint_queue SET token_index = NULL, updated_at = clock_timestamp()
     WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'pending' AND chain_message_id IS NULL
       AND retry_count = 0
""")

REFERENCES = text("""
    SELECT nft_instance_id, chain_message_id FROM nft_mint_queue
     WHERE id = ANY(CAST(:ids AS uuid[]))
     UNION ALL
    SELECT nft_instance_id, chain_message_id FROM nft_mint_queue
     WHERE chain_collection_id = :collection_id AND operation = 'mint'
       AND token_index IS NOT NULL AND status = 'pending'
""")

# KEY SHARE, as a foreign key's check takes it: a task that one transaction writes twice is checked
# again, and that would lock what it refers to after the wallet (docs/architecture.md, lock order).
SHARE_MESSAGES = text("""
    SELECT 1 FROM chain_message WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR KEY SHARE
""")
SHARE_BADGES = text("""
    SELECT 1 FROM nft_instance WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR KEY SHARE
""")

# clock_timestamp(): a lease that ran out while this transaction was open is lost.
RENEW = text("""
    UPDATE nft_mint_queue SET lease_expires_at = clock_timestamp() + :ttl
     WHERE id = ANY(CAST(:ids AS uuid[])) AND lease_token = :lease
       AND lease_expires_at > clock_timestamp()
""")

RELEASE = text("""
    UPDATE nft_mint_queue
       SET lease_token = NULL, lease_expires_at = NULL,
           run_after = CASE WHEN :delay > interval '0' THEN clock_timestamp() + :delay
                            ELSE run_after END
     WHERE id = ANY(CAST(:ids AS uuid[])) AND lease_token = :lease
""")

WITHOUT_COLLECTION = text("""
    SELECT type.id, type.code
      FROM nft_type AS type
     WHERE NOT EXISTS (SELECT 1 FROM chain_collection AS collection
                        WHERE collection.type_id = type.id)
       AND EXISTS (SELECT 1 FROM nft_mint_queue AS task
                    WHERE task.type_id = type.id AND task.operation = 'mint'
                      AND task.status = 'pending')
     ORDER BY type.code
""")


async def claim_due(
    conn: Connection,
    lease: LeaseToken,
    ttl: timedelta,
    limit: int,
    busy_types: Sequence[UUID],
    *,
    without_mints: Sequence[UUID] = (),
    without_burns: Sequence[UUID] = (),
) -> list[LeasedTask]:
    """Lease pending tasks that may be signed now: of each type, mints or revocations.

    Of types without an unresolved message, revocations only after their mint. Where a type has both
    due, they take turns, message by message; of revocations those of second tokens go first.

    Args:
        conn: a transaction of the caller's.
        lease: marks the rows from now on.
        ttl: how long it lasts, by the database's clock.
        limit: tasks of a type at most.
        busy_types: types that this process works on already.
        without_mints: types of which only revocations are leased.
        without_burns: types of which only mints are leased.
    """
    parameters = {
        "lease": lease,
        "ttl": ttl,
        "limit": limit,
        "busy": list(busy_types),
        "without_mints": list(without_mints),
        "without_burns": list(without_burns),
    }
    return [_leased(row) for row in await conn.execute(CLAIM_DUE, parameters)]


async def claim_sent(
    conn: Connection, lease: LeaseToken, ttl: timedelta, busy_types: Sequence[UUID]
) -> list[LeasedTask]:
    """Lease every sent task that nobody watches, by message.

    A former minter's, after its lease ran out.
    """
    parameters = {"lease": lease, "ttl": ttl, "busy": list(busy_types)}
    return [_leased(row) for row in await conn.execute(CLAIM_SENT, parameters)]


async def take_reserved(
    conn: Connection, lease: LeaseToken, ttl: timedelta, collection_id: UUID
) -> list[LeasedTask]:
    """Lease a collection's mints that hold an index from a void message, by index.

    Held ones come too, without a lease. The caller holds the collection's lock and saw no
    unresolved message.
    """
    rows = await conn.execute(
        TAKE_RESERVED, {"lease": lease, "ttl": ttl, "collection_id": collection_id}
    )
    return [_leased(row) for row in rows]


async def take_parked(
    conn: Connection, lease: LeaseToken, ttl: timedelta, task_ids: Sequence[UUID]
) -> None:
    """Lease parked mints that go along with others, and write so into their history.

    The caller holds the collection's lock and signs for the same indexes again.
    """
    if task_ids:
        event, actor = TaskEvent.RETRIED.value, Actor.SYSTEM.value
        parameters = {"ids": list(task_ids), "lease": lease, "ttl": ttl}
        await conn.execute(TAKE_PARKED, {**parameters, "event": event, "actor": actor})


async def give_up_indexes(conn: Connection, task_ids: Sequence[UUID]) -> None:
    """Take the indexes of mints back that were never part of an executed message.

    The caller holds the collection's lock.
    """
    if task_ids:
        await conn.execute(GIVE_UP_INDEXES, {"ids": list(task_ids)})


async def lock_references(conn: Connection, task_ids: Sequence[UUID], collection_id: UUID) -> None:
    """Lock, shared, the messages and badges of tasks and of the collection's reserved indexes.

    Nobody can settle them until the transaction ends. The caller holds the collection's lock.
    """
    found = await conn.execute(REFERENCES, {"ids": list(task_ids), "collection_id": collection_id})
    badges, messages = set[UUID](), set[UUID]()
    for badge_id, message_id in found:
        badges.add(badge_id)
        if message_id is not None:
            messages.add(message_id)
    await conn.execute(SHARE_MESSAGES, {"ids": list(messages)})
    await conn.execute(SHARE_BADGES, {"ids": list(badges)})


async def renew(
    conn: Connection, lease: LeaseToken, ttl: timedelta, task_ids: Sequence[UUID]
) -> None:
    """Make a lease last `ttl` from now.

    Raises:
        LeaseLost: it is not ours any more, for at least one task.
    """
    done = await conn.execute(RENEW, {"lease": lease, "ttl": ttl, "ids": list(task_ids)})
    all_of(done.rowcount, len(task_ids))


async def release(
    conn: Connection, lease: LeaseToken, task_ids: Sequence[UUID], delay: timedelta
) -> None:
    """End the lease of tasks, due again after `delay` (none: in their old place).

    What is not ours any more stays untouched.
    """
    if task_ids:
        await conn.execute(RELEASE, {"lease": lease, "ids": list(task_ids), "delay": delay})


async def types_without_collection(conn: Connection) -> list[tuple[UUID, TypeCode]]:
    """Return id and code of each type that has mints waiting and no collection."""
    rows = await conn.execute(WITHOUT_COLLECTION)
    return [(row.id, TypeCode(row.code)) for row in rows]


def all_of(found: int, wanted: int) -> None:
    """Raise LeaseLost unless an UPDATE met every task of the lease."""
    if found != wanted:
        raise LeaseLost(f"the lease holds {found} of {wanted} tasks", wanted=wanted, found=found)


def _leased(row: Row[Any]) -> LeasedTask:
    return LeasedTask(
        row.id,
        row.nft_instance_id,
        row.user_id,
        row.type_id,
        TypeCode(row.code),
        TaskOperation(row.operation),
        TaskStatus(row.status),
        row.retry_count,
        RawAddress(row.recipient) if row.recipient else None,
        RawAddress(row.onchain_token_id) if row.onchain_token_id else None,
        row.token_index,
        row.chain_message_id,
        HoldReason(row.hold_reason) if row.hold_reason else None,
        row.lease_token,
        row.ready_at,
        row.is_minted,
        row.wallet_wait,
    )

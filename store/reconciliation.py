"""What the database says about tokens, for comparison with the chain; and the repairs.

Every repair names in its WHERE what the comparison saw: what changed meanwhile is left for the next
run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from store import audit, chain, chain_messages, fence, mint_queue, settling
from store.engine import Connection
from store.ids import ordered_id
from store.mint_queue import NewTask
from store.settlement_effects import Effects, EndedToken, MintedBadge, burns_of
from store.values.badges import Actor, AuditAction, AuditEntry, InstanceStatus, OnchainStatus
from store.values.minting import TaskOperation, TaskStatus, TokenEnd, TokenRecord
from store.values.names import RawAddress


@dataclass(frozen=True, slots=True)
class FoundToken:
    """A token as a block shows it; `owner` None: it was destroyed already."""

    collection_id: UUID
    index: int
    token_id: RawAddress
    owner: RawAddress | None


# Of badges that are listed, those among them that the chain may know: submitted once, or minted.
TOKEN_RECORDS = text("""
    WITH listed AS MATERIALIZED (
         SELECT id FROM unnest(CAST(:ids AS uuid[])) AS listed (id)),
         task AS MATERIALIZED (
         SELECT task.nft_instance_id, task.operation, task.status, task.token_index, task.recipient,
                task.created_at
           FROM listed JOIN nft_mint_queue AS task ON task.nft_instance_id = listed.id),
         mint AS (
         SELECT DISTINCT ON (task.nft_instance_id)
                task.nft_instance_id, task.status, task.token_index, task.recipient
           FROM task
          WHERE task.operation = 'mint'
          ORDER BY task.nft_instance_id,
                   array_position(ARRAY['confirmed', 'sent', 'pending', 'failed'],
                                  task.status::text),
                   task.created_at DESC),
         burn AS (
         SELECT task.nft_instance_id, bool_or(task.status IN ('pending', 'sent')) AS is_open,
                bool_or(task.status = 'confirmed') AS is_done,
                bool_or(task.status = 'failed') AS has_failed
           FROM task
          WHERE task.operation = 'burn'
          GROUP BY task.nft_instance_id)
    SELECT instance.id, instance.type_id, instance.status, instance.onchain_status,
           instance.onchain_token_id, mint.status AS mint_status, mint.token_index, mint.recipient,
           coalesce(burn.is_open, false) AS burn_open, coalesce(burn.is_done, false) AS burned,
           coalesce(burn.has_failed, false) AS burn_failed
      FROM listed JOIN nft_instance AS instance ON instance.id = listed.id
           LEFT JOIN mint ON mint.nft_instance_id = instance.id
           LEFT JOIN burn ON burn.nft_instance_id = instance.id
     WHERE :asked OR mint.status IS NOT NULL OR instance.onchain_status <> 'not_minted'
""")
BADGES = text("""
    SELECT id FROM nft_instance WHERE id > :after ORDER BY id LIMIT :limit
""")
# Of badges at once: all of them would outlast a statement's timeout, and for many PostgreSQL would
# read the whole queue each time.
_SLICE = 1_000

ADOPT_TASK = text("""
    WITH mint AS (
         SELECT id, status FROM nft_mint_queue
          WHERE nft_instance_id = :instance_id AND operation = 'mint'
            AND status IN ('pending', 'failed')
          ORDER BY status = 'pending' DESC, created_at DESC
          LIMIT 1 FOR UPDATE),
         adopted AS (
         UPDATE nft_mint_queue AS task
            SET status = 'confirmed', token_index = :index, recipient = :recipient,
                chain_collection_id = :collection_id, hold_reason = NULL, lease_token = NULL,
                lease_expires_at = NULL, last_error = NULL, updated_at = clock_timestamp()
           FROM mint WHERE task.id = mint.id
         RETURNING task.id, mint.status AS from_status),
         added AS (
         INSERT INTO nft_mint_queue (id, nft_instance_id, operation, status, token_index, recipient,
                                     chain_collection_id)
         SELECT CAST(:task_id AS uuid), :instance_id, 'mint', 'confirmed', :index, :recipient,
                :collection_id
          WHERE NOT EXISTS (SELECT 1 FROM mint)
         RETURNING id, CAST(NULL AS varchar) AS from_status)
    INSERT INTO mint_task_event (task_id, event, from_status, to_status)
    SELECT id, 'adopted', from_status, 'confirmed'
      FROM (SELECT * FROM adopted UNION ALL SELECT * FROM added) AS task
""")

# A badge whose assignment came from a restored database: the index is another token's, it gets a
# new one.
FREE_INDEX = text("""
    UPDATE nft_mint_queue
       SET token_index = NULL, updated_at = clock_timestamp()
     WHERE chain_collection_id = :collection_id AND token_index = :index AND operation = 'mint'
       AND status = 'pending' AND nft_instance_id <> :instance_id
""")

INDEX_TAKEN = text("""
    SELECT EXISTS (SELECT 1 FROM nft_mint_queue
                    WHERE chain_collection_id = :collection_id AND token_index = :index
                      AND operation = 'mint' AND nft_instance_id <> :instance_id)
""")

RESTORE_ID = text("""
    UPDATE nft_instance SET onchain_token_id = :token_id, updated_at = clock_timestamp()
     WHERE id = :id AND onchain_status = 'minted' AND onchain_token_id IS NULL
""")

# Held ones too: an index beyond the chain's count must not be given to another badge while the
# message that it was signed with may still have an effect.
RESERVED = text("""
    SELECT task.id, task.token_index, message.valid_until
      FROM nft_mint_queue AS task
           LEFT JOIN chain_message AS message ON message.id = task.chain_message_id
     WHERE task.chain_collection_id = :id AND task.operation = 'mint'
       AND task.status = 'pending' AND task.token_index >= :index
     ORDER BY task.token_index
""")

DROP_INDEXES = text("""
    UPDATE nft_mint_queue SET token_index = NULL, updated_at = clock_timestamp()
     WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'pending'
""")

REVOKE_SECOND = text("""
    INSERT INTO nft_mint_queue (id, nft_instance_id, operation, token_index, chain_collection_id)
    VALUES (:task_id, :instance_id, 'revoke_second', :index, :collection_id)
        ON CONFLICT (nft_instance_id, operation) WHERE status IN ('pending', 'sent') DO NOTHING
""")

OPEN_INDEXES = text("""
    SELECT token_index FROM nft_mint_queue
     WHERE chain_collection_id = :id AND operation = 'mint' AND token_index IS NOT NULL
       AND status IN ('pending', 'sent')
""")


async def token_records(
    conn: Connection, instance_ids: Sequence[UUID] | None = None
) -> dict[UUID, TokenRecord]:
    """Return what is recorded of `instance_ids`, or of every badge that the chain may know."""
    if instance_ids is not None:
        return await _records(conn, instance_ids, asked=True)
    found, after = dict[UUID, TokenRecord](), UUID(int=0)
    while slice_ := list((await conn.execute(BADGES, {"after": after, "limit": _SLICE})).scalars()):
        found |= await _records(conn, slice_, asked=False)
        after = slice_[-1]
    return found


async def _records(
    conn: Connection, ids: Sequence[UUID], *, asked: bool
) -> dict[UUID, TokenRecord]:
    rows = await conn.execute(TOKEN_RECORDS, {"ids": list(ids), "asked": asked})
    return {
        row.id: TokenRecord(
            row.id,
            row.type_id,
            InstanceStatus(row.status),
            OnchainStatus(row.onchain_status),
            RawAddress(row.onchain_token_id) if row.onchain_token_id else None,
            TaskStatus(row.mint_status) if row.mint_status else None,
            row.token_index,
            RawAddress(row.recipient) if row.recipient else None,
            row.burn_open,
            row.burned,
            row.burn_failed,
        )
        for row in rows
    }


async def restore_id(conn: Connection, seen: TokenRecord, token_id: RawAddress) -> bool:
    """Write a lost token id back; return whether the badge still lacked it.

    Audit: metadata_updated.
    """
    await settling.locked_badges(conn, [seen.instance_id])
    done = await conn.execute(RESTORE_ID, {"id": seen.instance_id, "token_id": token_id})
    if done.rowcount != 1:
        return False
    details = {"repair": "lost_id", "token_id": token_id}
    entry = AuditEntry(seen.instance_id, AuditAction.METADATA_UPDATED, Actor.ADMIN, details)
    await audit.append(conn, [entry])
    return True


async def mark_destroyed(conn: Connection, seen: TokenRecord, occurred_at: datetime) -> bool:
    """Write that the owner destroyed the token; return whether the badge was still as `seen`.

    An active badge becomes burned_onchain. A revoked one stays revoked; a burn task is given to the
    minter, which finds the token destroyed and confirms.
    """
    badges = await settling.locked_badges(conn, [seen.instance_id])
    if not await _unchanged(conn, seen):
        return False
    if seen.status is InstanceStatus.REVOKED:
        return await mint_queue.enqueue(conn, [NewTask(seen.instance_id, TaskOperation.BURN)]) == 1
    ended = (EndedToken(badges[seen.instance_id], TokenEnd.DESTROYED),)
    await settling.write(conn, Effects(ended=ended), occurred_at, actor=Actor.ADMIN)
    return True


async def burn(conn: Connection, seen: TokenRecord) -> bool:
    """Have the standing token of a badge that is over revoked; return whether that is new."""
    await settling.locked_badges(conn, [seen.instance_id])
    if not await _unchanged(conn, seen):
        return False
    return await mint_queue.enqueue(conn, [NewTask(seen.instance_id, TaskOperation.BURN)]) == 1


async def revoke_second(conn: Connection, seen: TokenRecord, found: FoundToken) -> bool:
    """Have a token revoked that a badge has beside its own; return whether that is new.

    Audit: metadata_updated.
    """
    await settling.locked_badges(conn, [seen.instance_id])
    if not await _unchanged(conn, seen):
        return False
    place = {
        "instance_id": seen.instance_id,
        "index": found.index,
        "collection_id": found.collection_id,
    }
    if (await conn.execute(REVOKE_SECOND, {"task_id": ordered_id(), **place})).rowcount != 1:
        return False
    details = {"repair": "second_token", "token_id": found.token_id}
    entry = AuditEntry(seen.instance_id, AuditAction.METADATA_UPDATED, Actor.ADMIN, details)
    await audit.append(conn, [entry])
    return True


async def adopt(
    conn: Connection, seen: TokenRecord, found: FoundToken, occurred_at: datetime
) -> bool:
    """Take a token that names a badge of ours for that badge's; return whether nothing hindered it.

    Args:
        conn: a transaction of the caller's.
        seen: the badge as it was compared: no token, and no message under way for it.
        found: the token; where it was destroyed already, the badge is burned_onchain at once.
        occurred_at: the time of the block that showed it.
    """
    # First, as where one signs: the adopted task's foreign key would lock it after the task
    # (docs/architecture.md, lock order).
    await chain.lock_collection(conn, found.collection_id)
    badges = await settling.locked_badges(conn, [seen.instance_id])
    # A message for this badge may still make another token: it is waited for, and what is void of
    # it is adopted with the token.
    if seen.mint_status is TaskStatus.SENT or not await _unchanged(conn, seen):
        return False
    place = {
        "collection_id": found.collection_id,
        "index": found.index,
        "instance_id": seen.instance_id,
    }
    await conn.execute(FREE_INDEX, place)
    if (await conn.execute(INDEX_TAKEN, place)).scalar_one():
        return False
    # Destroyed tokens name no owner any more; the recipient column wants somebody: the token itself
    # stands in.
    recipient = found.owner or seen.recipient or found.token_id
    await conn.execute(ADOPT_TASK, {**place, "recipient": recipient, "task_id": ordered_id()})
    badge = badges[seen.instance_id]
    minted = (MintedBadge(badge, found.token_id),)
    ended = () if found.owner is not None else (EndedToken(badge, TokenEnd.DESTROYED),)
    effects = Effects(minted, ended, burns=burns_of(minted, ended))
    await settling.write(conn, effects, occurred_at, actor=Actor.ADMIN)
    return True


async def agree_on_index(
    conn: Connection,
    collection_id: UUID,
    next_item_index: int,
    *,
    seen_next_index: int | None = None,
    dead_before: datetime | None = None,
) -> bool:
    """Continue a collection where the chain stands, and let it be minted into again.

    Return whether that was possible. It is not while a message is under way, or where pending mints
    hold indexes beyond the chain's count with a hole among them: they lose those once nothing
    signed for them can have an effect.

    Args:
        conn: a transaction of the caller's.
        collection_id: every token of it has its badge.
        next_item_index: the chain's count.
        seen_next_index: the database's count when the two were compared.
        dead_before: messages that were valid until then, by the chain's time, are forgotten.
    """
    collection = await chain.lock_collection(conn, collection_id)
    if await chain_messages.unresolved(conn, collection_id) is not None:
        return False
    if seen_next_index not in (None, collection.next_index):
        return False
    reserved = (await conn.execute(RESERVED, {"id": collection_id, "index": next_item_index})).all()
    end = next_item_index + len(reserved)
    if [row.token_index for row in reserved] != list(range(next_item_index, end)):
        if dead_before is None or any(
            row.valid_until is not None and row.valid_until >= dead_before for row in reserved
        ):
            return False
        await conn.execute(DROP_INDEXES, {"ids": [row.id for row in reserved]})
        end = next_item_index
    await chain.set_next_index(conn, collection_id, end)
    await fence.break_collection(conn, collection_id, None)
    await fence.free_held(conn)
    return True


async def open_indexes(conn: Connection, collection_id: UUID) -> frozenset[int]:
    """Return the indexes that open mints of a collection hold.

    What the chain lacks there is on its way.
    """
    return frozenset((await conn.execute(OPEN_INDEXES, {"id": collection_id})).scalars())


async def _unchanged(conn: Connection, seen: TokenRecord) -> bool:
    now = await token_records(conn, [seen.instance_id])
    return now.get(seen.instance_id) == seen

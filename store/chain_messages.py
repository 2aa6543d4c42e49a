"""chain_message: the signed messages, until each of their tasks has its outcome.

A message's row is locked while its tasks are settled (lock order: docs/architecture.md).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text, update

from store.chain import found
from store.engine import Connection
from store.models.minting import ChainMessage
from store.values.minting import Commitments, MessageKind, MessageStatus


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A signed message, to be committed before it is sent.

    `signed_at` and `valid_until` are the chain's time.
    """

    chain_wallet_id: UUID
    chain_collection_id: UUID
    kind: MessageKind
    query_seq: int
    signed_at: datetime
    valid_until: datetime
    boc: bytes
    message_hash: bytes


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message as it stands. `last_sent_at` is the chain's time, `created_at` the database's."""

    id: UUID
    chain_collection_id: UUID
    kind: MessageKind
    status: MessageStatus
    query_seq: int
    signed_at: datetime
    valid_until: datetime
    boc: bytes
    message_hash: bytes
    send_count: int
    last_sent_at: datetime | None
    created_at: datetime


_MESSAGE_COLUMNS = (
    ChainMessage.id,
    ChainMessage.chain_collection_id,
    ChainMessage.kind,
    ChainMessage.status,
    ChainMessage.query_seq,
    ChainMessage.signed_at,
    ChainMessage.valid_until,
    ChainMessage.boc,
    ChainMessage.message_hash,
    ChainMessage.send_count,
    ChainMessage.last_sent_at,
    ChainMessage.created_at,
)
_MESSAGE = select(*_MESSAGE_COLUMNS)
_UNRESOLVED = ChainMessage.status == MessageStatus.UNRESOLVED.value

# What unresolved messages may still take out of the wallet: each counts until the database knows
# its outcome.
COMMITMENTS = text("""
    SELECT count(*) FILTER (WHERE task.operation = 'mint') AS mints,
           count(*) FILTER (WHERE task.operation <> 'mint') AS burns,
           (SELECT count(*) FROM chain_message
             WHERE kind = 'deploy' AND status = 'unresolved'
               AND chain_wallet_id = :wallet_id) AS deploys,
           (SELECT count(*) FROM chain_message
             WHERE status = 'unresolved' AND chain_wallet_id = :wallet_id) AS messages
      FROM chain_message AS message
           JOIN nft_mint_queue AS task
             ON task.chain_message_id = message.id AND task.status = 'sent'
     WHERE message.status = 'unresolved' AND message.chain_wallet_id = :wallet_id
""")

LOCK_MESSAGE = text("SELECT 1 FROM chain_message WHERE id = :id FOR UPDATE")

# A message is void only if none of its tasks was confirmed: they may be settled in several steps.
RESOLVE_MESSAGE = text("""
    UPDATE chain_message AS message
       SET status = CASE WHEN EXISTS (SELECT 1 FROM nft_mint_queue AS task
                                       WHERE task.chain_message_id = message.id
                                         AND task.status = 'confirmed')
                         THEN 'settled' ELSE CAST(:status AS text) END,
           settled_seqno = :seqno, updated_at = clock_timestamp()
     WHERE id = :id AND status = 'unresolved'
       AND NOT EXISTS (SELECT 1 FROM nft_mint_queue AS task
                        WHERE task.chain_message_id = message.id AND task.status = 'sent')
""")


SETTLED_SEQNO = text("""
    SELECT settled_seqno FROM chain_message
     WHERE chain_collection_id = :id
     ORDER BY query_seq DESC
     LIMIT 1
""")


async def commitments(conn: Connection, wallet_id: UUID) -> Commitments:
    """Return what the wallet's unresolved messages may still pay for."""
    row = (await conn.execute(COMMITMENTS, {"wallet_id": wallet_id})).one()
    return Commitments(row.mints, row.burns, row.deploys, row.messages)


async def add(conn: Connection, message: NewMessage) -> MessageRecord:
    """Write a signed message.

    A second unresolved one of its collection is refused by the database.
    """
    values = {
        "chain_wallet_id": message.chain_wallet_id,
        "chain_collection_id": message.chain_collection_id,
        "kind": message.kind.value,
        "query_seq": message.query_seq,
        "signed_at": message.signed_at,
        "valid_until": message.valid_until,
        "boc": message.boc,
        "message_hash": message.message_hash,
    }
    statement = insert(ChainMessage).values(values).returning(*_MESSAGE_COLUMNS)
    return _message((await conn.execute(statement)).one())


async def unresolved(conn: Connection, collection_id: UUID) -> MessageRecord | None:
    """Return the collection's one message whose outcome is not known yet."""
    unresolved = _MESSAGE.where(ChainMessage.chain_collection_id == collection_id, _UNRESOLVED)
    row = (await conn.execute(unresolved)).one_or_none()
    return None if row is None else _message(row)


async def unresolved_deploys(conn: Connection) -> list[MessageRecord]:
    """Return the deploy messages whose outcome is not known yet."""
    deploys = _MESSAGE.where(ChainMessage.kind == MessageKind.DEPLOY.value, _UNRESOLVED)
    return [_message(row) for row in await conn.execute(deploys.order_by(ChainMessage.query_seq))]


async def one(conn: Connection, message_id: UUID) -> MessageRecord:
    """Return a message as it stands.

    Raises:
        RecordGone: there is none.
    """
    row = (await conn.execute(_MESSAGE.where(ChainMessage.id == message_id))).one_or_none()
    return _message(found(row, f"message {message_id}"))


async def lock(conn: Connection, message_id: UUID) -> None:
    """Keep others from settling tasks of this message until the transaction ends."""
    await conn.execute(LOCK_MESSAGE, {"id": message_id})


async def sent(conn: Connection, message_id: UUID, chain_time: datetime) -> MessageRecord:
    """Count a send, with the chain's time of it; return the message as it stands then.

    Raises:
        RecordGone: there is no such message.
    """
    statement = (
        update(ChainMessage)
        .where(ChainMessage.id == message_id)
        .values(
            send_count=ChainMessage.send_count + 1,
            last_sent_at=chain_time,
            updated_at=func.clock_timestamp(),
        )
        .returning(*_MESSAGE_COLUMNS)
    )
    row = (await conn.execute(statement)).one_or_none()
    return _message(found(row, f"message {message_id}"))


async def resolve(
    conn: Connection, message_id: UUID, status: MessageStatus, seqno: int | None = None
) -> bool:
    """Close an unresolved message, at the masterchain block `seqno`.

    Return whether it was open, and no task is `sent` with it any more.
    """
    parameters = {"id": message_id, "status": status.value, "seqno": seqno}
    return (await conn.execute(RESOLVE_MESSAGE, parameters)).rowcount == 1


async def settled_seqno(conn: Connection, collection_id: UUID) -> int:
    """Return the block at which the collection's last message was closed; 0 before the first."""
    found = await conn.execute(SETTLED_SEQNO, {"id": collection_id})
    return found.scalar_one_or_none() or 0


def _message(row: Row[*tuple[Any, ...]]) -> MessageRecord:
    return MessageRecord(
        row.id,
        row.chain_collection_id,
        MessageKind(row.kind),
        MessageStatus(row.status),
        row.query_seq,
        row.signed_at,
        row.valid_until,
        bytes(row.boc),
        bytes(row.message_hash),
        row.send_count,
        row.last_sent_at,
        row.created_at,
    )

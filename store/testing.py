"""Statements that no process of Laurel executes: the faults that the demo and tests inject.

They stand here since SQL lives in the store alone, and apart from the modules that workers and
minters import.
"""

from uuid import UUID

from sqlalchemy import text

from store.engine import Connection

DROP_TOKEN_ID = text("""
    UPDATE nft_instance SET onchain_token_id = NULL
     WHERE id = :instance_id AND onchain_token_id IS NOT NULL
    RETURNING id
""")


async def drop_token_id(conn: Connection, instance_id: UUID) -> bool:
    """Set a badge's token id to null; return whether it had one.

    Reconcile has to find it (docs/demo.md).
    """
    dropped = await conn.execute(DROP_TOKEN_ID, {"instance_id": instance_id})
    return dropped.scalar_one_or_none() is not None

"""Commands that were applied, by the caller's own id, for ever.

The same id again is a repetition, with other content a conflict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from store.engine import Connection
from store.values.stream import CommandType


@dataclass(frozen=True, slots=True)
class NewCommand:
    """A command that asks to be applied.

    `content_hash` is SHA-256 over its type, subject and data.
    """

    external_id: str
    content_hash: bytes
    type: CommandType


CLAIM = text("""
    INSERT INTO command_log (external_id, content_hash, type)
    SELECT *
      FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS bytea[]), CAST(:types AS text[]))
        AS listed (external_id, content_hash, type)
     -- Two batches with the same ids wait for each other in one order, and never in a circle.
     ORDER BY external_id
        ON CONFLICT DO NOTHING
    RETURNING external_id
""")

READ = text("""
    SELECT external_id, content_hash FROM command_log
     WHERE external_id = ANY(CAST(:ids AS text[]))
""")

APPLIED = text("""
    UPDATE command_log AS command
       SET content_hash = listed.content_hash, type = listed.type,
           nft_instance_id = listed.nft_instance_id
      FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS bytea[]), CAST(:types AS text[]),
                  CAST(:instances AS uuid[]))
        AS listed (external_id, content_hash, type, nft_instance_id)
     WHERE command.external_id = listed.external_id
""")

WITHDRAW = text("DELETE FROM command_log WHERE external_id = ANY(CAST(:ids AS text[]))")


async def claim(conn: Connection, commands: Sequence[NewCommand]) -> frozenset[str]:
    """Write `commands` (each id once) and return the ids that are new.

    A row of this transaction may be withdrawn again.
    """
    if not commands:
        return frozenset()
    rows = await conn.execute(
        CLAIM,
        {
            "ids": [command.external_id for command in commands],
            "hashes": [command.content_hash for command in commands],
            "types": [command.type.value for command in commands],
        },
    )
    return frozenset(row.external_id for row in rows)


async def hashes(conn: Connection, external_ids: Sequence[str]) -> dict[str, bytes]:
    """Return the content hashes of the commands that were applied under `external_ids`."""
    if not external_ids:
        return {}
    rows = await conn.execute(READ, {"ids": list(external_ids)})
    return {row.external_id: bytes(row.content_hash) for row in rows}


async def applied(conn: Connection, commands: Sequence[tuple[NewCommand, UUID]]) -> None:
    """Note the badge that each claimed command was applied to, and the content.

    After a rejection it may be another than the claim's.
    """
    if not commands:
        return
    await conn.execute(
        APPLIED,
        {
            "ids": [command.external_id for command, _ in commands],
            "hashes": [command.content_hash for command, _ in commands],
            "types": [command.type.value for command, _ in commands],
            "instances": [instance_id for _, instance_id in commands],
        },
    )


async def withdraw(conn: Connection, external_ids: Sequence[str]) -> None:
    """Take back claims of this transaction: a rejected command may be sent again."""
    if external_ids:
        await conn.execute(WITHDRAW, {"ids": list(external_ids)})

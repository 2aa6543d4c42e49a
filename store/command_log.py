"""Commands that were applied, by the caller's own id, for ever.

The same id again is a repetition, with other content a conflict.
"""

from collections.abc import Collection, Sequence
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
           nft_instance_id = listed.nft_instance_id, silent = listed.silent
      FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS bytea[]), CAST(:types AS text[]),
                  CAST(:instances AS uuid[]), CAST(:silent AS boolean[]))
        AS listed (external_id, content_hash, type, nft_instance_id, silent)
     WHERE command.external_id = listed.external_id
""")

# Of two live records with one command, one ends its silence: the other waits, and finds it ended.
END_SILENCE = text("""
    WITH held AS MATERIALIZED (
         SELECT external_id FROM command_log
          WHERE external_id = ANY(CAST(:ids AS text[])) AND silent
          ORDER BY external_id
            FOR UPDATE)
    UPDATE command_log AS command SET silent = false
      FROM held WHERE command.external_id = held.external_id
    RETURNING command.external_id, command.nft_instance_id
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


@dataclass(frozen=True, slots=True)
class AppliedCommand:
    """A command and the badge that it was applied to; `silent`: something was left unsaid."""

    command: NewCommand
    nft_instance_id: UUID
    silent: bool = False


async def applied(conn: Connection, commands: Sequence[AppliedCommand]) -> None:
    """Note the badge that each claimed command was applied to, and the content.

    After a rejection it may be another than the claim's.
    """
    if not commands:
        return
    await conn.execute(
        APPLIED,
        {
            "ids": [each.command.external_id for each in commands],
            "hashes": [each.command.content_hash for each in commands],
            "types": [each.command.type.value for each in commands],
            "instances": [each.nft_instance_id for each in commands],
            "silent": [each.silent for each in commands],
        },
    )


async def end_silence(conn: Connection, external_ids: Collection[str]) -> dict[str, UUID]:
    """Note that the stream brings commands; return those that it brings first, and their badges."""
    if not external_ids:
        return {}
    rows = await conn.execute(END_SILENCE, {"ids": sorted(external_ids)})
    return {row.external_id: row.nft_instance_id for row in rows}


async def withdraw(conn: Connection, external_ids: Sequence[str]) -> None:
    """Take back claims of this transaction: a rejected command may be sent again."""
    if external_ids:
        await conn.execute(WITHDRAW, {"ids": list(external_ids)})

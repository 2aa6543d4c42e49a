"""waiting_command: commands that cannot be carried out yet, until they can or their time is over.

A row has all that its dead letter needs. Rows are read under their locks, before command_log. One
is written, and taken away because of a decision, only by who holds the claim on its external id
there: so nobody meets another's new row. When its time is over it is taken away without one.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text

from store import dead_letters, exact_json
from store.dead_letters import NewDeadLetter
from store.engine import Connection
from store.values.stream import Reason

# Of the users of one batch, those that have waited longest; the sweep finds the others.
OF_A_BATCH_MAX = 1_000


@dataclass(frozen=True, slots=True)
class NewWaitingCommand:
    """A command that is to wait.

    `document` is what `exact_json` writes of it, `letter` what becomes of it if it waits in vain.
    """

    external_id: str
    content_hash: bytes
    user_id: UUID
    document: object
    letter: NewDeadLetter


@dataclass(frozen=True, slots=True)
class StoredCommand:
    """A command that waits, what for, and where it came from."""

    external_id: str
    content_hash: bytes
    document: dict[str, Any]
    reason: Reason
    detail: str
    cluster_id: str
    topic: str


@dataclass(frozen=True, slots=True)
class Page:
    """Waiting commands that can be decided by now, and where the next page begins.

    `due` are ids of those whose outcome is told to others, `silent_due` of the others.
    """

    due: list[str]
    silent_due: list[str]
    end: tuple[datetime, str] | None


ANY = text("SELECT EXISTS (SELECT FROM waiting_command)")

# The stream brings what a silent run has left: from now on its outcome is told.
SPEAK_UP = text("""
    WITH brought AS MATERIALIZED (
         SELECT external_id FROM waiting_command
          WHERE silent
            AND (external_id, content_hash)
                IN (SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS bytea[])))
          ORDER BY external_id
            FOR UPDATE)
    UPDATE waiting_command AS waiting SET silent = false
      FROM brought WHERE waiting.external_id = brought.external_id
""")

OF_USERS = text("""
    WITH oldest AS MATERIALIZED (
         SELECT external_id FROM waiting_command
          WHERE user_id = ANY(CAST(:users AS uuid[])) AND silent = :silent
          ORDER BY created_at, partition, "offset"
          LIMIT :limit)
    SELECT external_id, content_hash, command, reason, detail, cluster_id, topic, created_at,
           partition, "offset"
      FROM waiting_command
     WHERE external_id IN (SELECT external_id FROM oldest)
     ORDER BY external_id
       FOR UPDATE
""")
# What another transaction has in its hands is decided there.
BY_ID = text("""
    SELECT external_id, content_hash, command, reason, detail, cluster_id, topic, created_at,
           partition, "offset"
      FROM waiting_command
     WHERE external_id = ANY(CAST(:ids AS text[])) AND silent = :silent
     ORDER BY external_id
       FOR UPDATE SKIP LOCKED
""")
EXPIRED = text("""
    SELECT external_id, content_hash, command, reason, detail, cluster_id, topic, created_at,
           partition, "offset"
      FROM waiting_command
     WHERE expires_at <= clock_timestamp()
     ORDER BY expires_at, external_id
     LIMIT :limit
       FOR UPDATE SKIP LOCKED
""")
FIND = text("""
    SELECT external_id, content_hash, command, reason, detail, cluster_id, topic, created_at,
           partition, "offset"
      FROM waiting_command
     WHERE external_id = ANY(CAST(:ids AS text[]))
""")

KEEP = text("""
    INSERT INTO waiting_command (external_id, content_hash, user_id, command, silent, reason,
                                 detail, expires_at, cluster_id, topic, partition, "offset",
                                 record_timestamp_ms, key, value, value_length, value_sha256,
                                 content_sha256, headers)
    SELECT listed.external_id, content_hash, user_id, command, :silent, reason, detail,
           clock_timestamp() + :wait, :cluster_id, topic, partition, "offset", timestamp, key,
           value, length, value_hash, letter_hash, CAST(convert_from(headers, 'UTF8') AS jsonb)
      FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS bytea[]), CAST(:users AS uuid[]),
                  CAST(:commands AS jsonb[])) WITH ORDINALITY
             AS listed (external_id, content_hash, user_id, command, place)
           JOIN unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]),
                  CAST(:offsets AS bigint[]), CAST(:timestamps AS bigint[]),
                  CAST(:keys AS bytea[]), CAST(:values AS bytea[]), CAST(:lengths AS bigint[]),
                  CAST(:value_hashes AS bytea[]), CAST(:content_hashes AS bytea[]),
                  CAST(:headers AS bytea[]), CAST(:reasons AS text[]), CAST(:details AS text[])
             ) WITH ORDINALITY
             AS letter (topic, partition, "offset", timestamp, key, value, length, value_hash,
                        letter_hash, headers, reason, detail, place) USING (place)
""")
WAIT_ON = text("""
    UPDATE waiting_command AS waiting SET reason = listed.reason, detail = listed.detail
      FROM unnest(CAST(:ids AS text[]), CAST(:reasons AS text[]), CAST(:details AS text[]))
        AS listed (external_id, reason, detail)
     WHERE waiting.external_id = listed.external_id
""")
END = text("DELETE FROM waiting_command WHERE external_id = ANY(CAST(:ids AS text[]))")

REJECT = text("""
    WITH gone AS (
         DELETE FROM waiting_command AS waiting
          USING unnest(CAST(:ids AS text[]), CAST(:reasons AS text[]), CAST(:details AS text[]))
             AS listed (external_id, reason, detail)
          WHERE waiting.external_id = listed.external_id
         RETURNING waiting.*, listed.reason AS why, listed.detail AS explained)
    INSERT INTO dead_letter (cluster_id, topic, partition, "offset", record_timestamp_ms, key,
                             value, value_length, value_sha256, content_sha256, headers, reason,
                             detail)
    SELECT cluster_id, topic, partition, "offset", record_timestamp_ms, key, value, value_length,
           value_sha256, content_sha256, headers, why, explained
      FROM gone
        ON CONFLICT DO NOTHING
""")
# Of no_token: a token, one that is being minted, or a badge that is active no more.
PAGE = text("""
    WITH page AS MATERIALIZED (
         SELECT external_id, expires_at, silent, reason, user_id,
                command->>'type_code' AS type_code,
                CAST(command->>'instance_id' AS uuid) AS instance_id
           FROM waiting_command
          WHERE (expires_at, external_id) > (CAST(:after AS timestamptz), CAST(:after_id AS text))
          ORDER BY expires_at, external_id
          LIMIT :limit)
    SELECT page.external_id, page.expires_at, page.silent,
           badge.id IS NOT NULL
           AND (page.reason = 'no_such_badge' OR badge.status <> 'active'
                OR badge.onchain_token_id IS NOT NULL
                OR EXISTS (SELECT FROM nft_mint_queue AS task
                            WHERE task.nft_instance_id = badge.id AND task.operation = 'mint'
                              AND task.status IN ('pending', 'sent'))) AS due
      FROM page
           LEFT JOIN nft_type AS type ON type.code = page.type_code
           LEFT JOIN nft_instance AS badge
             ON badge.id = coalesce(page.instance_id,
                                    (SELECT held.id FROM nft_instance AS held
                                      WHERE held.user_id = page.user_id
                                        AND held.type_id = type.id
                                      ORDER BY held.ordinal DESC
                                      LIMIT 1))
     ORDER BY page.expires_at, page.external_id
""")
COUNT = text("SELECT count(*) FROM waiting_command")


async def of_users(
    conn: Connection,
    user_ids: Iterable[UUID],
    brought: Mapping[str, bytes] | None = None,
    *,
    silent: bool,
) -> list[StoredCommand]:
    """Return what waits of `user_ids`, locked, in the order in which it came.

    Args:
        conn: in the batch's transaction.
        user_ids: of the users of the batch; looked at only where anything waits at all.
        brought: content hashes by external id of the batch's own commands. Where it is not silent,
            nor is what waits under them from now on.
        silent: what silent runs have left, and only that.
    """
    if not (await conn.execute(ANY)).scalar_one():
        return []
    if brought and not silent:
        await conn.execute(SPEAK_UP, {"ids": list(brought), "hashes": list(brought.values())})
    given = {"users": list(set(user_ids)), "silent": silent, "limit": OF_A_BATCH_MAX}
    return await _read(conn, OF_USERS, given)


async def by_id(
    conn: Connection, external_ids: Collection[str], *, silent: bool
) -> list[StoredCommand]:
    """Return what waits under `external_ids`, locked, in the order in which it came.

    What another transaction has locked is left out.
    """
    if not external_ids:
        return []
    return await _read(conn, BY_ID, {"ids": list(external_ids), "silent": silent})


async def find(conn: Connection, external_ids: Collection[str]) -> list[StoredCommand]:
    """Return what waits under `external_ids`, without locks."""
    if not external_ids:
        return []
    return await _read(conn, FIND, {"ids": list(external_ids)})


async def keep(
    conn: Connection,
    commands: Sequence[NewWaitingCommand],
    cluster_id: str,
    wait: timedelta,
    *,
    silent: bool,
) -> None:
    """Let `commands` wait, under the claims of their ids; for `wait` at most."""
    rest = iter(commands)
    for letters in dead_letters.slices([each.letter for each in commands]):
        part = [next(rest) for _ in letters]
        await conn.execute(
            KEEP,
            {
                "ids": [each.external_id for each in part],
                "hashes": [each.content_hash for each in part],
                "users": [each.user_id for each in part],
                "commands": [exact_json.dumped(each.document) for each in part],
                "silent": silent,
                "wait": wait,
                "cluster_id": cluster_id,
                **dead_letters.columns(letters),
            },
        )


async def wait_on(conn: Connection, commands: Sequence[tuple[str, Reason, str]]) -> None:
    """Note what commands wait for at present: external id, reason, detail."""
    if commands:
        await conn.execute(WAIT_ON, _reasons(commands))


async def end(conn: Connection, external_ids: Sequence[str]) -> None:
    """Forget commands that wait no longer."""
    if external_ids:
        await conn.execute(END, {"ids": list(external_ids)})


async def reject(conn: Connection, commands: Sequence[tuple[str, Reason, str]]) -> int:
    """Make dead letters of commands that never can be carried out: external id, reason, detail.

    Return how many were dead letters already.
    """
    if not commands:
        return 0
    return len(commands) - (await conn.execute(REJECT, _reasons(commands))).rowcount


async def expired(conn: Connection, limit: int) -> list[StoredCommand]:
    """Return at most `limit` commands whose time is over, locked.

    What another transaction has locked is left out.
    """
    return await _read(conn, EXPIRED, {"limit": limit})


async def page(conn: Connection, after: tuple[datetime, str] | None, limit: int) -> Page:
    """Look at `limit` commands, oldest first, for those that can be decided by now.

    Args:
        conn: in a transaction; nothing is locked.
        after: the end of the page before; None: from the oldest on.
        limit: how many are looked at.
    """
    at, external_id = after or ("-infinity", "")
    given = {"after": at, "after_id": external_id, "limit": limit}
    rows = list(await conn.execute(PAGE, given))
    return Page(
        [row.external_id for row in rows if row.due and not row.silent],
        [row.external_id for row in rows if row.due and row.silent],
        (rows[-1].expires_at, rows[-1].external_id) if len(rows) == limit else None,
    )


async def count(conn: Connection) -> int:
    """Return how many commands wait."""
    return int((await conn.execute(COUNT)).scalar_one())


async def _read(
    conn: Connection, statement: TextClause, given: dict[str, Any]
) -> list[StoredCommand]:
    rows = sorted(
        await conn.execute(statement, given),
        key=lambda row: (row.created_at, row.partition, row.offset),
    )
    return [
        StoredCommand(
            row.external_id,
            bytes(row.content_hash),
            row.command,
            Reason(row.reason),
            row.detail,
            row.cluster_id,
            row.topic,
        )
        for row in rows
    ]


def _reasons(commands: Sequence[tuple[str, Reason, str]]) -> dict[str, list[str]]:
    return {
        "ids": [external_id for external_id, _, _ in commands],
        "reasons": [reason.value for _, reason, _ in commands],
        "details": [dead_letters.detail(words) for _, _, words in commands],
    }

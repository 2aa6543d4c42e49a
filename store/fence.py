"""chain_wallet: whether minting is shut, and which database on which server this is.

A message that a database has lost may still be under way. So what identifies the database is kept
beside the wallet: where it differs, or where the chain shows what the database does not know, the
wallet is shut for as long as such a message can execute, and where it takes a person's word, until
`laurel reconcile --repair` has found every token (docs/mint-lifecycle.md, When the database went
back).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from store import chain
from store.engine import Connection
from store.values.names import RawAddress

_UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """Which database this is; `server_started_at` is that of the server's process.

    `epoch`: system identifier, timeline, and the object ids of the database and of chain_wallet.
    Another server has the first, a promoted one the second, a dump that was restored one of the
    others. A part that the role may not ask for reads `-`.
    """

    epoch: str
    server_started_at: datetime

    def same_database(self, stored: str) -> bool:
        """Return whether `stored` names this database too, as far as both say."""
        parts = zip(self.epoch.split("/"), stored.split("/"), strict=True)
        return all(one == other or _UNKNOWN in (one, other) for one, other in parts)


@dataclass(frozen=True, slots=True)
class Shut:
    """Why nothing is signed. `until` is the chain's time.

    `needs_repair`: a person has to ask for a repair first; `repair_asked`: one has, for this or for
    what is noticed later.
    """

    reason: str
    until: datetime
    needs_repair: bool
    repair_asked: bool = False


@dataclass(frozen=True, slots=True)
class Fence:
    """The wallet's row, as far as it says whether one may sign.

    `epoch` and `server_started_at` are None until the first look. `accounted_lt`: every transaction
    of the wallet up to this logical time has been looked at.
    """

    epoch: str | None
    server_started_at: datetime | None
    accounted_lt: int
    next_query_seq: int
    shut: Shut | None

    def names(self, identity: DatabaseIdentity) -> bool:
        """Return whether the last look was at this database on this run of its server."""
        return (
            self.epoch is not None
            and identity.same_database(self.epoch)
            and identity.server_started_at == self.server_started_at
        )


FENCE = text("""
    SELECT database_epoch, server_started_at, accounted_lt, next_query_seq, shut_reason, shut_until,
           shut_needs_repair, repair_asked
      FROM chain_wallet WHERE id = :wallet_id
""")
LOCK_FENCE = text("SELECT 1 FROM chain_wallet WHERE id = :wallet_id FOR UPDATE")

# Both are everybody's to call by default, and some hosts of PostgreSQL take that away.
MAY_ASK = text("""
    SELECT has_function_privilege('pg_control_system()', 'EXECUTE') AS system,
           has_function_privilege('pg_current_wal_lsn()', 'EXECUTE')
             AND has_function_privilege('pg_walfile_name(pg_lsn)', 'EXECUTE') AS timeline
""")
SYSTEM = text("SELECT system_identifier::text FROM pg_control_system()")
# The name of the file that is written now begins with the timeline, from the moment of a promotion
# on; the control file names it from the next checkpoint on only. A standby writes none: whoever
# looks there cannot write either, and tries again.
TIMELINE = text("""
    SELECT CASE WHEN pg_is_in_recovery() THEN '-'
                ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END
""")
OBJECTS = text("""
    SELECT base.oid::text || '/' || CAST('chain_wallet' AS regclass)::oid::text AS ids,
           pg_postmaster_start_time() AS started_at
      FROM pg_database AS base WHERE base.datname = current_database()
""")

LOOKED = text("""
    UPDATE chain_wallet
       SET database_epoch = :epoch, server_started_at = :started_at,
           accounted_lt = greatest(accounted_lt, :lt), updated_at = clock_timestamp()
     WHERE id = :wallet_id
""")

SHUT = text("""
    UPDATE chain_wallet
       SET shut_reason = CASE WHEN shut_needs_repair AND NOT :needs_repair THEN shut_reason
                              ELSE :reason END,
           shut_until = greatest(shut_until, :until),
           shut_needs_repair = shut_needs_repair OR :needs_repair, updated_at = clock_timestamp()
     WHERE id = :wallet_id
""")

ASK_REPAIR = text("""
    UPDATE chain_wallet SET repair_asked = true, updated_at = clock_timestamp()
     WHERE id = :wallet_id AND shut_reason IS NOT NULL
""")

REOPEN = text("""
    UPDATE chain_wallet
       SET shut_reason = NULL, shut_until = NULL, shut_needs_repair = false, repair_asked = false,
           updated_at = clock_timestamp()
     WHERE id = :wallet_id AND shut_until < :time AND (NOT shut_needs_repair OR :repaired)
""")

# Some at a time, and none that a batch or another minter has in hand: the next sweep comes soon.
HOLD = text("""
    WITH waiting AS MATERIALIZED (
         SELECT picked.id
           FROM nft_type AS type CROSS JOIN LATERAL (
                SELECT task.id FROM nft_mint_queue AS task
                 WHERE task.type_id = type.id AND task.operation = 'mint'
                   AND task.status = 'pending' AND task.hold_reason IS NULL
                   AND task.token_index IS NULL
                   AND (task.lease_expires_at IS NULL OR task.lease_expires_at < now())
                 ORDER BY task.priority, task.run_after
                 LIMIT 500
                   FOR UPDATE SKIP LOCKED) AS picked
          LIMIT 500),
         held AS (
         UPDATE nft_mint_queue AS task
            SET hold_reason = 'breaker', lease_token = NULL, lease_expires_at = NULL,
                last_error = :reason, updated_at = clock_timestamp()
           FROM waiting WHERE task.id = waiting.id
         RETURNING task.id)
    INSERT INTO mint_task_event (task_id, event, from_status, to_status, details)
    SELECT id, 'held', 'pending', 'pending', jsonb_build_object('reason', CAST(:reason AS text))
      FROM held
""")

# Whatever held them: where neither wallet nor collection is shut, nothing stands against them.
# Some at a time, too: a hundred thousand would keep the sweep for seconds.
FREE = text("""
    WITH held AS MATERIALIZED (
         SELECT task.id
           FROM nft_mint_queue AS task
          WHERE task.hold_reason = 'breaker'
            AND NOT EXISTS (SELECT 1 FROM chain_wallet WHERE shut_reason IS NOT NULL)
            AND NOT EXISTS (SELECT 1 FROM chain_collection AS collection
                             WHERE collection.type_id = task.type_id
                               AND collection.breaker IS NOT NULL)
          ORDER BY task.created_at, task.id
          LIMIT 2000
            FOR UPDATE OF task SKIP LOCKED)
    UPDATE nft_mint_queue AS task
       SET hold_reason = NULL, run_after = clock_timestamp(), updated_at = clock_timestamp()
      FROM held WHERE task.id = held.id AND task.hold_reason = 'breaker'
""")

KNOWN = text("""
    SELECT message_hash FROM chain_message WHERE message_hash = ANY(CAST(:hashes AS bytea[]))
""")

BREAK = text("""
    UPDATE chain_collection SET breaker = :reason, updated_at = clock_timestamp() WHERE id = :id
""")


HELD_TOKENS = text("""
    SELECT onchain_token_id FROM nft_instance
     WHERE onchain_token_id = ANY(CAST(:tokens AS text[]))
""")

ACCEPT = text("""
    UPDATE chain_collection
       SET accepted_badges = accepted_badges || CAST(:badges AS uuid[]),
           updated_at = clock_timestamp()
     WHERE id = :id
""")


async def identity(conn: Connection) -> DatabaseIdentity:
    """Return which database `conn` leads to."""
    may = (await conn.execute(MAY_ASK)).one()
    system = (await conn.execute(SYSTEM)).scalar_one() if may.system else _UNKNOWN
    timeline = (await conn.execute(TIMELINE)).scalar_one() if may.timeline else _UNKNOWN
    objects = (await conn.execute(OBJECTS)).one()
    return DatabaseIdentity(f"{system}/{timeline}/{objects.ids}", objects.started_at)


async def fence(conn: Connection, wallet_id: UUID, *, lock: bool = False) -> Fence:
    """Return the wallet's fence; with `lock`, nobody changes it until the transaction ends.

    Raises:
        RecordGone: this database has no such wallet.
    """
    if lock:
        await conn.execute(LOCK_FENCE, {"wallet_id": wallet_id})
    rows = await conn.execute(FENCE, {"wallet_id": wallet_id})
    row = chain.found(rows.one_or_none(), "the wallet")
    found = None
    if row.shut_reason is not None:
        found = Shut(row.shut_reason, row.shut_until, row.shut_needs_repair, row.repair_asked)
    return Fence(
        row.database_epoch, row.server_started_at, row.accounted_lt, row.next_query_seq, found
    )


async def looked(conn: Connection, wallet_id: UUID, seen: DatabaseIdentity, lt: int) -> None:
    """Write that the wallet's transactions up to `lt` were looked at, in this database."""
    parameters = {"epoch": seen.epoch, "started_at": seen.server_started_at, "lt": lt}
    await conn.execute(LOOKED, {**parameters, "wallet_id": wallet_id})


async def shut(conn: Connection, wallet_id: UUID, why: Shut) -> None:
    """Shut minting, or shut it longer; what needs a person keeps its reason.

    A repair that was asked for stays asked for: what was under way then may arrive since.
    """
    parameters = {"reason": why.reason, "until": why.until, "needs_repair": why.needs_repair}
    await conn.execute(SHUT, {**parameters, "wallet_id": wallet_id})


async def ask_repair(conn: Connection, wallet_id: UUID) -> None:
    """Write that a person asked for a repair: minters go on with it until minting is open.

    Also where it opens by itself: what is under way may arrive since, and take a repair.
    """
    await conn.execute(ASK_REPAIR, {"wallet_id": wallet_id})


async def reopen(conn: Connection, wallet_id: UUID, time: datetime, *, repaired: bool) -> bool:
    """Open minting again; return whether it was shut, and may be opened at the chain's `time`.

    `repaired`: every token has its badge, and every collection its count.
    """
    done = await conn.execute(REOPEN, {"wallet_id": wallet_id, "time": time, "repaired": repaired})
    return done.rowcount == 1


async def hold_waiting(conn: Connection, reason: str) -> None:
    """Hold waiting mints (`breaker`) while minting is shut."""
    await conn.execute(HOLD, {"reason": reason})


async def free_held(conn: Connection) -> int:
    """Free mints that the breaker holds and that nothing stands against; return how many.

    Two thousand at most, the oldest first: a running minter's sweeps free the others.
    """
    return (await conn.execute(FREE)).rowcount


async def known_messages(conn: Connection, hashes: Sequence[bytes]) -> frozenset[bytes]:
    """Return those of the messages' hashes that this database signed."""
    if not hashes:
        return frozenset()
    rows = await conn.execute(KNOWN, {"hashes": list(hashes)})
    return frozenset(bytes(row.message_hash) for row in rows)


async def break_collection(conn: Connection, collection_id: UUID, reason: str | None) -> None:
    """Let nothing be minted into a collection any more; None: let it again.

    The caller holds the collection's lock.
    """
    await conn.execute(BREAK, {"id": collection_id, "reason": reason})


async def accept_unknown(conn: Connection, collection_id: UUID, badges: Sequence[UUID]) -> None:
    """Write down badges that tokens name and that nobody knows: they are not minted again."""
    await conn.execute(ACCEPT, {"id": collection_id, "badges": list(badges)})


async def tokens_with_badge(
    conn: Connection, tokens: Sequence[RawAddress | None]
) -> frozenset[RawAddress | None]:
    """Return those of `tokens` that a badge has."""
    rows = await conn.execute(HELD_TOKENS, {"tokens": [each for each in tokens if each]})
    return frozenset(RawAddress(row.onchain_token_id) for row in rows)

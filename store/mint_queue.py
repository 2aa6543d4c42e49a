"""The mint queue as the processor meets it.

Enqueue, release, cancel, and what is known of a badge's token.

Callers hold the locks of the instances they name (docs/architecture.md, lock order). What the
minter does with a task once it is there is in store/claiming.py; docs/mint-lifecycle.md has the
states.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from uuid import UUID

from sqlalchemy import text

from store.engine import Connection
from store.ids import id_prefix
from store.values.minting import HoldReason, TaskOperation, TokenState
from store.values.names import RawAddress

# Of mints that history asks for: whatever anybody waits for now goes first.
PRIORITY_OF_HISTORY = 100


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task for the minter.

    `hold_reason` None: it waits for nothing but its turn. `run_after` None: that is now.
    """

    nft_instance_id: UUID
    operation: TaskOperation
    hold_reason: HoldReason | None = None
    priority: int = 0
    run_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class HeldPlace:
    """A place among held tasks, which stand in the order of their age."""

    created_at: datetime
    id: UUID


BEFORE_ALL = HeldPlace(datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


@dataclass(frozen=True, slots=True)
class Swept:
    """How many tasks a sweep freed, and where the next goes on: BEFORE_ALL after the last."""

    freed: int
    reached: HeldPlace


ENQUEUE = text("""
    WITH wanted AS (
         SELECT * FROM unnest(CAST(:instances AS uuid[]), CAST(:operations AS text[]),
                              CAST(:holds AS text[]), CAST(:priorities AS smallint[]),
                              CAST(:moments AS timestamptz[])) WITH ORDINALITY
                AS listed (nft_instance_id, operation, hold_reason, priority, run_after,
                           position)),
         added AS (
         INSERT INTO nft_mint_queue (id, nft_instance_id, operation, hold_reason, priority,
                                     run_after, updated_at)
         SELECT CAST(:id_prefix || lpad(to_hex(position), 8, '0') AS uuid),
                wanted.nft_instance_id, wanted.operation, wanted.hold_reason, wanted.priority,
                coalesce(wanted.run_after, now()),
                -- A task that is not held is free from both instants on (store/claiming.py).
                CASE WHEN wanted.hold_reason IS NULL THEN coalesce(wanted.run_after, now())
                     ELSE now() END
           FROM wanted JOIN nft_instance AS instance ON instance.id = wanted.nft_instance_id
          WHERE wanted.operation <> 'mint'
             OR (instance.status = 'active' AND instance.onchain_status <> 'minted')
          ORDER BY wanted.nft_instance_id, wanted.operation
             ON CONFLICT (nft_instance_id, operation) WHERE status IN ('pending', 'sent') DO NOTHING
         RETURNING nft_instance_id, operation, hold_reason),
         submitted AS (
         UPDATE nft_instance AS instance
            SET onchain_status = 'pending', updated_at = clock_timestamp()
           FROM added
          WHERE instance.id = added.nft_instance_id AND added.operation = 'mint'
            AND added.hold_reason IS NULL
            AND instance.onchain_status IN ('not_minted', 'failed'))
    SELECT count(*) FROM added
""")

# The wallet that receives: the row of the latest link, unless it was unlinked since
# (docs/data-model.md, Wallets).
RECIPIENTS = text("""
    SELECT user_id, address, test_only
      FROM (SELECT DISTINCT ON (user_id) user_id, address, test_only, linked_at, unlinked_at
              FROM user_wallet
             WHERE user_id = ANY(CAST(:users AS uuid[])) AND linked_at IS NOT NULL
             ORDER BY user_id, linked_at DESC, address) AS latest
     WHERE unlinked_at IS NULL OR unlinked_at < linked_at
""")

# First, in a statement of its own: whoever holds a task of these badges has committed by then, or
# waits and looks at the wallets again. Either sees the other.
LOCK_WAITING = text("""
    SELECT 1 FROM nft_instance AS instance
     WHERE instance.user_id = ANY(CAST(:users AS uuid[]))
       AND EXISTS (SELECT 1 FROM nft_mint_queue AS task
                    WHERE task.nft_instance_id = instance.id AND task.status = 'pending')
     ORDER BY instance.id
       FOR UPDATE OF instance
""")

# The instances are locked first, in the order of their ids, like everywhere.
RELEASE = text("""
    WITH held AS MATERIALIZED (
         SELECT task.id, instance.id AS nft_instance_id,
                -- One that never had a wallet waits for its turn, where that was to come later.
                CASE WHEN task.hold_reason = 'no_wallet'
                     THEN greatest(task.run_after, clock_timestamp())
                     ELSE clock_timestamp() END AS free_from
           FROM nft_instance AS instance
                JOIN nft_mint_queue AS task ON task.nft_instance_id = instance.id
          WHERE instance.user_id = ANY(CAST(:users AS uuid[])) AND task.status = 'pending'
            AND task.hold_reason IN ('no_wallet', 'recipient')
            AND (SELECT wallet.unlinked_at IS NULL OR wallet.unlinked_at < wallet.linked_at
                   FROM user_wallet AS wallet
                  WHERE wallet.user_id = instance.user_id AND wallet.linked_at IS NOT NULL
                  ORDER BY wallet.linked_at DESC, wallet.address
                  LIMIT 1)
          ORDER BY instance.id
            FOR UPDATE OF instance),
         freed AS (
         UPDATE nft_mint_queue AS task
            SET hold_reason = NULL, run_after = held.free_from, updated_at = held.free_from
           FROM held
          WHERE task.id = held.id AND task.hold_reason IN ('no_wallet', 'recipient')
            AND task.status = 'pending'
         RETURNING task.nft_instance_id, task.operation),
         submitted AS (
         UPDATE nft_instance AS instance
            SET onchain_status = 'pending', updated_at = clock_timestamp()
           FROM freed
          WHERE instance.id = freed.nft_instance_id AND freed.operation = 'mint'
            AND instance.onchain_status IN ('not_minted', 'failed'))
    SELECT count(*) FROM freed
""")

# Some held tasks, from one place in their order on.
SWEEP = text("""
    WITH waiting AS MATERIALIZED (
         SELECT task.id, task.created_at, instance.id AS nft_instance_id, instance.user_id
           FROM nft_mint_queue AS task
                JOIN nft_instance AS instance ON instance.id = task.nft_instance_id
          WHERE task.hold_reason = 'no_wallet'
            AND (task.created_at, task.id) > (CAST(:after_at AS timestamptz), :after_id)
          ORDER BY task.created_at, task.id
          LIMIT :limit),
         held AS MATERIALIZED (
         SELECT listed.id
           FROM (SELECT waiting.id, waiting.nft_instance_id
                   FROM waiting
                  WHERE (SELECT wallet.unlinked_at IS NULL OR wallet.unlinked_at < wallet.linked_at
                           FROM user_wallet AS wallet
                          WHERE wallet.user_id = waiting.user_id AND wallet.linked_at IS NOT NULL
                          ORDER BY wallet.linked_at DESC, wallet.address
                          LIMIT 1)
                 OFFSET 0) AS listed
                JOIN nft_instance AS instance ON instance.id = listed.nft_instance_id
          ORDER BY instance.id
            FOR UPDATE OF instance),
         freed AS (
         UPDATE nft_mint_queue AS task
            -- One whose turn was to come later waits for that.
            SET hold_reason = NULL,
                run_after = greatest(task.run_after, clock_timestamp()),
                updated_at = greatest(task.run_after, clock_timestamp())
           FROM held
          WHERE task.id = held.id AND task.hold_reason = 'no_wallet' AND task.status = 'pending'
         RETURNING task.nft_instance_id, task.operation),
         submitted AS (
         UPDATE nft_instance AS instance
            SET onchain_status = 'pending', updated_at = clock_timestamp()
           FROM freed
          WHERE instance.id = freed.nft_instance_id AND freed.operation = 'mint'
            AND instance.onchain_status IN ('not_minted', 'failed'))
    SELECT waiting.created_at, waiting.id, (SELECT count(*) FROM waiting) AS looked_at,
           (SELECT count(*) FROM freed) AS freed
      FROM waiting
     ORDER BY waiting.created_at DESC, waiting.id DESC
     LIMIT 1
""")

# A burn that waited for a mint that will never be has nothing to burn: it fails with it.
CANCEL = text("""
    WITH listed AS MATERIALIZED (
         SELECT task.id, task.status
           FROM nft_mint_queue AS task
          WHERE task.nft_instance_id = ANY(CAST(:instances AS uuid[])) AND task.operation = 'mint'
            AND task.status = 'pending' AND task.chain_message_id IS NULL
            AND task.token_index IS NULL
          ORDER BY task.id
            FOR UPDATE),
         cancelled AS (
         UPDATE nft_mint_queue AS task
            SET status = 'failed', last_error = :reason, hold_reason = NULL, lease_token = NULL,
                lease_expires_at = NULL, updated_at = clock_timestamp()
           FROM listed WHERE task.id = listed.id
         RETURNING task.id, task.nft_instance_id),
         pointless AS (
         UPDATE nft_mint_queue AS task
            SET status = 'failed', last_error = :reason, hold_reason = NULL, lease_token = NULL,
                lease_expires_at = NULL, updated_at = clock_timestamp()
           FROM cancelled
          WHERE task.nft_instance_id = cancelled.nft_instance_id AND task.operation = 'burn'
            AND task.status = 'pending' AND task.chain_message_id IS NULL
         RETURNING task.id),
         history AS (
         INSERT INTO mint_task_event (task_id, event, from_status, to_status, details)
         SELECT id, 'cancelled', 'pending', 'failed',
                jsonb_build_object('reason', CAST(:reason AS text))
           FROM (SELECT id FROM cancelled UNION ALL SELECT id FROM pointless) AS task),
         unsubmitted AS (
         UPDATE nft_instance AS instance
            SET onchain_status = 'failed', updated_at = clock_timestamp()
           FROM cancelled
          WHERE instance.id = cancelled.nft_instance_id AND instance.onchain_status = 'pending')
    SELECT nft_instance_id FROM cancelled
""")

TOKEN_STATES = text("""
    SELECT instance.id,
           coalesce(bool_or(task.operation = 'mint' AND task.status IN ('pending', 'sent')), false)
             AS mint_open,
           coalesce(bool_or(task.operation = 'burn' AND task.status IN ('pending', 'sent')), false)
             AS burn_open,
           coalesce(bool_or(task.operation = 'burn' AND task.status = 'confirmed'), false) AS burned
      FROM nft_instance AS instance
           LEFT JOIN nft_mint_queue AS task ON task.nft_instance_id = instance.id
     WHERE instance.id = ANY(CAST(:instances AS uuid[]))
     GROUP BY instance.id
""")


async def enqueue(conn: Connection, tasks: Sequence[NewTask]) -> int:
    """Write `tasks` and return how many are new.

    An open task of the same badge and operation swallows another.

    An instance whose mint is new and not held becomes `pending`; under a hold it stays
    `not_minted`. A mint for a badge that is not active, or is minted already, is dropped.
    """
    if not tasks:
        return 0
    parameters = {
        "instances": [task.nft_instance_id for task in tasks],
        "operations": [task.operation.value for task in tasks],
        "holds": [task.hold_reason.value if task.hold_reason else None for task in tasks],
        "priorities": [task.priority for task in tasks],
        "moments": [task.run_after for task in tasks],
        "id_prefix": id_prefix(),
    }
    return int((await conn.execute(ENQUEUE, parameters)).scalar_one())


async def enqueue_mints(
    conn: Connection,
    mints: Mapping[UUID, UUID],
    priority: int = 0,
    moments: Iterable[datetime | None] = repeat(None),
) -> int:
    """Enqueue the mints of `mints` (badge -> user) and return how many are new.

    A mint whose user has no wallet now is held until there is one.

    Args:
        conn: in the transaction that makes the badges.
        mints: in their order.
        priority: lower goes first.
        moments: before which each of them is not begun; None: now.
    """
    if not mints:
        return 0
    known = await recipients(conn, sorted(set(mints.values())))
    return await enqueue(
        conn,
        [
            NewTask(
                badge,
                TaskOperation.MINT,
                None if user in known else HoldReason.NO_WALLET,
                priority,
                moment,
            )
            for (badge, user), moment in zip(mints.items(), moments, strict=False)
        ],
    )


async def recipients(conn: Connection, user_ids: Sequence[UUID]) -> dict[UUID, RawAddress]:
    """Return the address that receives each user's tokens.

    Users without a standing wallet are absent.
    """
    if not user_ids:
        return {}
    rows = await conn.execute(RECIPIENTS, {"users": list(user_ids)})
    return {row.user_id: RawAddress(row.address) for row in rows}


async def linked_test_only(conn: Connection, user_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Return the users whose standing wallet was linked in a form for test networks only."""
    rows = await conn.execute(RECIPIENTS, {"users": list(user_ids)})
    return frozenset(row.user_id for row in rows if row.test_only)


async def release_held(conn: Connection, user_ids: Sequence[UUID]) -> int:
    """Free the `no_wallet` tasks of those `user_ids` who have a standing wallet now.

    Their `recipient` tasks, too: the minter looks at the wallet that is linked now.
    Return how many.
    """
    if not user_ids:
        return 0
    await conn.execute(LOCK_WAITING, {"users": list(user_ids)})
    return int((await conn.execute(RELEASE, {"users": list(user_ids)})).scalar_one())


async def sweep_held(conn: Connection) -> int:
    """Free every `no_wallet` task whose user has a standing wallet; return how many.

    A badge and its user's wallet may be written by two transactions that do not see each other;
    then nobody else releases the task.
    """
    swept = await sweep_some(conn, BEFORE_ALL, 10_000)
    freed = swept.freed
    while swept.reached != BEFORE_ALL:
        swept = await sweep_some(conn, swept.reached, 10_000)
        freed += swept.freed
    return freed


async def sweep_some(conn: Connection, after: HeldPlace, limit: int) -> Swept:
    """Do the same with at most `limit` of the held tasks, the oldest of those `after` a place.

    There may be many, nearly all of users who have no wallet.
    """
    parameters = {"after_at": after.created_at, "after_id": after.id, "limit": limit}
    row = (await conn.execute(SWEEP, parameters)).one_or_none()
    if row is None or row.looked_at < limit:
        return Swept(0 if row is None else row.freed, BEFORE_ALL)
    return Swept(row.freed, HeldPlace(row.created_at, row.id))


async def cancel_unsigned_mints(
    conn: Connection, instance_ids: Sequence[UUID], reason: str
) -> frozenset[UUID]:
    """Fail the open mints of `instance_ids` that were never signed, and burns that waited for them.

    Return the badges concerned.

    A mint that was signed once is left alone: its token may come to exist, and is then burned by a
    task of its own. The task is never reopened. An instance that was `pending` becomes `failed`.
    """
    if not instance_ids:
        return frozenset()
    rows = await conn.execute(CANCEL, {"instances": list(instance_ids), "reason": reason})
    return frozenset(row.nft_instance_id for row in rows)


async def token_states(conn: Connection, instance_ids: Sequence[UUID]) -> dict[UUID, TokenState]:
    """Return how far the queue is with the tokens of `instance_ids`; unknown ids are absent."""
    if not instance_ids:
        return {}
    rows = await conn.execute(TOKEN_STATES, {"instances": list(instance_ids)})
    return {row.id: TokenState(row.mint_open, row.burn_open, row.burned) for row in rows}

"""Write what a batch decided, set by set, in the order of the locks."""

from ops.faults import Point, reach
from processor.batch import waiting
from processor.batch.attempt import Attempt
from processor.batch.command_set import settle
from processor.batch.decisions import Decisions
from processor.batch.options import PipelineOptions
from store import audit, dead_letters, instances, mint_queue, silenced_badges
from store.engine import Connection
from store.values.minting import TaskOperation


async def write(conn: Connection, attempt: Attempt, options: PipelineOptions) -> int:
    """Write what was decided, set by set, in the order of the locks.

    Return how many dead letters were there already.
    """
    rows = attempt.rows
    await write_badges(conn, rows)
    users = {change.user_id for change in attempt.batch.wallets}
    await mint_queue.release_held(conn, sorted(users))
    reach(Point.BATCH_RELEASED)
    await mint_queue.enqueue_mints(conn, rows.mints, options.mint_priority)
    reach(Point.BATCH_MINTING)
    cancelled = await mint_queue.cancel_unsigned_mints(
        conn, list(rows.revoked), "the badge was revoked"
    )
    reach(Point.BATCH_CANCELLED)
    signed = {badge for badge, had_mint in rows.revoked.items() if had_mint} - cancelled
    burns = sorted(rows.burns | signed)
    await mint_queue.enqueue(
        conn, [mint_queue.NewTask(badge, TaskOperation.BURN) for badge in burns]
    )
    reach(Point.BATCH_BURNING)
    await settle(conn, attempt.merged.claims, attempt.commands, options)
    reach(Point.BATCH_LOGGED)
    repeated = await waiting.write(conn, attempt.commands, options)
    reach(Point.BATCH_WAITING)
    letters = [each.dead_letter for each in attempt.rejected]
    repeated += await dead_letters.append(conn, options.cluster_id, letters)
    reach(Point.BATCH_DEAD_LETTERED)
    return repeated


async def write_badges(conn: Connection, rows: Decisions) -> None:
    """Write badges, what is left unsaid about them, and their history; no tasks yet."""
    await instances.raise_levels(conn, rows.raised)
    reach(Point.BATCH_RAISED)
    await instances.revoke(conn, list(rows.revoked))
    reach(Point.BATCH_REVOKED)
    # Last: a badge is active only once the one before it is not.
    await instances.create(conn, rows.created)
    reach(Point.BATCH_CREATED)
    await silenced_badges.keep(conn, rows.silenced)
    reach(Point.BATCH_SILENCED)
    await audit.append(conn, rows.audit)
    reach(Point.BATCH_AUDITED)

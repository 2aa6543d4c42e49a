"""What the queue's gauges show: how many tasks stand where, and how long the oldest waits.

Two statements, for two rhythms: what is open is found by partial indexes, however much is over;
what is over can only be counted whole.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from store.engine import Connection
from store.values.minting import HoldReason, TaskOperation, TaskStatus


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The tasks of one place of the queue.

    `oldest`: how long the one that has waited longest waits there. A held one since it was held,
    another since nobody but the minter was waited for, so a message that is signed again makes it
    no younger; zero where none waits, as a revocation does not before its badge's mint is over.
    """

    operation: TaskOperation
    status: TaskStatus
    hold_reason: HoldReason | None
    tasks: int
    oldest: timedelta = timedelta()


# A delay (claiming.release) moves run_after and nothing else, so the earlier of both tells since
# when a revocation waits. Sent tasks by way of the few unresolved messages.
OPEN = text("""
    WITH unheld AS (
         SELECT operation, status, nft_instance_id, run_after, updated_at
           FROM nft_mint_queue
          WHERE status = 'pending' AND hold_reason IS NULL
          UNION ALL
         SELECT task.operation, task.status, task.nft_instance_id, task.run_after, task.updated_at
           FROM chain_message AS message
                JOIN nft_mint_queue AS task ON task.chain_message_id = message.id
          WHERE message.status = 'unresolved' AND task.status = 'sent'),
         dated AS (
         SELECT operation, status,
                CASE WHEN operation = 'mint' THEN run_after
                     ELSE (SELECT CASE WHEN bool_or(mint.status IN ('pending', 'sent')) THEN NULL
                                       ELSE greatest(least(unheld.run_after, unheld.updated_at),
                                                     max(mint.updated_at)) END
                             FROM nft_mint_queue AS mint
                            WHERE mint.nft_instance_id = unheld.nft_instance_id
                              AND mint.operation = 'mint' AND mint.status <> 'failed')
                 END AS since
           FROM unheld),
         counted AS (
         SELECT operation, status, CAST(NULL AS text) AS hold_reason, count(*) AS tasks,
                min(since) AS since
           FROM dated GROUP BY operation, status
          UNION ALL
         SELECT operation, 'pending', hold_reason, count(*), min(updated_at)
           FROM nft_mint_queue WHERE hold_reason IS NOT NULL GROUP BY operation, hold_reason)
    SELECT operation, status, hold_reason, tasks,
           coalesce(greatest(clock_timestamp() - since, interval '0'), interval '0') AS oldest
      FROM counted
""")

OVER = text("""
    SELECT operation, status, count(*) AS tasks
      FROM nft_mint_queue WHERE status IN ('confirmed', 'failed') GROUP BY operation, status
""")


async def open_tasks(conn: Connection) -> list[QueueFigures]:
    """Return how many tasks are pending or sent, by hold, and how long the oldest waits."""
    return [
        QueueFigures(
            TaskOperation(row.operation),
            TaskStatus(row.status),
            HoldReason(row.hold_reason) if row.hold_reason else None,
            row.tasks,
            row.oldest,
        )
        for row in await conn.execute(OPEN)
    ]


async def settled_tasks(conn: Connection) -> list[QueueFigures]:
    """Return how many tasks are confirmed or failed. Reads the whole queue."""
    return [
        QueueFigures(TaskOperation(row.operation), TaskStatus(row.status), None, row.tasks)
        for row in await conn.execute(OVER)
    ]

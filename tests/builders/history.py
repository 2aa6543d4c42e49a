"""A history that gives every statement of a batch something to do, and what it leaves behind."""

from collections.abc import Mapping
from uuid import UUID

from processor.events.chunks import Chunk
from store import ledger
from store.engine import Database
from tests.builders.messages import (
    ALICE,
    BOB,
    CLUSTER,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    a_quest,
    a_review,
    a_visit,
    a_wallet,
    an_address,
    open_ledger,
)
from tests.builders.sql import rows

CAROL = UUID(int=3)


def a_history() -> list[Chunk]:
    """Two batches in which every statement has something to do.

    First badges, then level-ups, wallets, commands and broken messages.
    """
    log = Log()
    log.append(*(a_partner(who) for who in (ALICE, BOB, CAROL) for _ in range(3)))
    log.append(
        *(a_quest(ALICE) for _ in range(5)), *(a_visit(ALICE, f"city-{n}") for n in range(3))
    )
    log.append(
        *(a_review(BOB, f"review-{n}") for n in range(4)), a_review(BOB, "review-0", removed=True)
    )
    # They wait. The second batch awards BOB's badge, which is then revoked, and so not minted.
    log.append(
        a_command("revoke", BOB, type_code="explorer", reason="a test"),
        a_command("mint", BOB, type_code="explorer"),
        a_command("revoke", ALICE, type_code="city_explorer", reason="a test"),
    )
    first = log.chunks()
    log.append(
        *(a_partner(who) for who in (ALICE, BOB) for _ in range(3)),
        b"{broken",
        topic="laurel.partners",
    )
    log.append(a_wallet(ALICE, an_address(1)), a_wallet(BOB, an_address(2)))
    log.append(a_review(BOB, "review-1", removed=True), a_review(BOB, "review-9"))
    log.append(
        a_command("mint", ALICE, type_code="ambassador"),
        a_command("burn", BOB, type_code="ambassador"),
    )
    log.append(
        a_command("revoke", CAROL, type_code="ambassador", reason="a test"),
        a_command("mint", ALICE, type_code="quest_author"),
        a_command("award", BOB, type_code="explorer", level=2),
    )
    return first + log.chunks()


async def drive(url: str, chunks: list[Chunk]) -> None:
    """Count what the ledger says is left, in two batches, like a worker that was started again."""
    async with Database(url) as database:
        await open_ledger(database, chunks)
        pipeline = await a_pipeline(database)
        middle = next(number for number, chunk in enumerate(chunks) if chunk.position > 0)
        for batch in (chunks[:middle], chunks[middle:]):
            async with database.transaction() as conn:
                standing = await ledger.read(conn, CLUSTER, {chunk.key for chunk in batch})
            await pipeline.run(
                [chunk for chunk in batch if standing[chunk.key].next_offset == chunk.position]
            )


async def facts(url: str) -> Mapping[str, object]:
    """Everything that was written, without ids and times that differ from run to run."""
    badge = "JOIN nft_instance AS badge ON badge.id = nft_instance_id"
    queries = {
        "counters": "SELECT user_id, code, counters"
        "  FROM nft_progress JOIN nft_type ON nft_type.id = type_id",
        "badges": "SELECT user_id, type_id, current_level, status, onchain_status, metadata"
        "  FROM nft_instance",
        "audit": f"SELECT user_id, action, details->>'level' FROM nft_audit_log {badge}",
        "tasks": "SELECT user_id, operation, task.status, hold_reason"
        f"  FROM nft_mint_queue AS task {badge}",
        "outbox": "SELECT user_id, seq, event_type, payload->>'level' FROM outbox_message",
        "ledger": "SELECT topic, partition, next_offset, last_offset FROM offset_ledger",
        "processed": "SELECT count(*) FROM processed_event",
        "members": "SELECT user_id, member, posted, undone FROM progress_member",
        "wallets": "SELECT user_id, address FROM user_wallet",
        "commands": "SELECT type, nft_instance_id IS NOT NULL FROM command_log",
        "waiting": "SELECT user_id, command->>'type', reason FROM waiting_command",
        "dead letters": 'SELECT topic, "offset", reason, substr(value, 1, 8), headers FROM dead_letter',
    }
    async with Database(url) as database:
        return {
            name: sorted(map(str, await rows(database, query))) for name, query in queries.items()
        }

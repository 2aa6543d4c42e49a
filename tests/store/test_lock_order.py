"""Batches, catalogs, settlements and repairs lock tables in the one order of lock_order.ORDER.

tests/minter/test_lock_order.py has the minter's own transactions, which need a chain.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from processor.catalog.apply import apply_catalog
from processor.catalog.load import SHIPPED, load
from processor.history import fill
from processor.history.fill_closing import ClosingOptions, FillCloser
from processor.stream.waiting_sweep import WaitingSweep
from sandbox.postgres import PostgresServer
from store import models
from store.engine import Database
from tests.builders.catalogs import TENANT
from tests.builders.history import a_history, drive
from tests.builders.late_counters import late_world, taken, the_counter
from tests.builders.loads import SAID, SILENT, loaded, read_of
from tests.builders.messages import (
    ALICE,
    BOB,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    a_review,
    count,
    terms,
    with_catalog,
)
from tests.processor.history.test_rebuild import LOUD, Live, break_points, rebuilding, steps
from tests.store.lock_order import (
    APPENDED,
    OF_A_FILL,
    OF_A_REBUILD,
    OF_THE_CATALOG,
    ORDER,
    Step,
    Transaction,
    contradictions,
    recorded,
)

# Nothing writes these yet.
UNUSED = {"achievement", "achievement_category", "achievement_grant", "nft_level_achievement"}


@pytest.fixture(scope="session")
def database_server(postgres_server: PostgresServer) -> PostgresServer:
    """PostgreSQL 18 alone: the order is Laurel's, and what a statement locks is the same in 15."""
    return postgres_server


@pytest.fixture
def transactions() -> Iterator[list[Transaction]]:
    with recorded() as found:
        yield found


def locked(transactions: list[Transaction]) -> set[str]:
    return set().union(*(transaction.locked for transaction in transactions))


async def test_batches_lock_in_order(
    database: Database, database_url: str, transactions: list[Transaction]
) -> None:
    await with_catalog(database)
    transactions.clear()
    await drive(database_url, a_history())
    assert contradictions(transactions) == []
    untouched = {
        "catalog_job",
        "counter_fill",
        "chain_collection",
        "chain_message",
        "chain_wallet",
        "history_job",
        "paused_partition",
        "rebuild",
        "silenced_badge",
    }
    assert locked(transactions) >= set(ORDER) - untouched


async def test_slices_of_history_lock_in_order(
    database: Database, transactions: list[Transaction]
) -> None:
    """In silence, and said aloud: then the silence about known events ends."""
    await with_catalog(database)
    partners = [a_partner(who) for who in (ALICE, BOB) for _ in range(50)]
    reviews = [a_review(ALICE, f"review-{n}", removed=n > 2) for n in range(5)]
    await loaded(database, await read_of(database, partners[:70]), SILENT)
    transactions.clear()
    await loaded(database, await read_of(database, [*partners, *reviews], slices=1), SAID)
    assert contradictions(transactions) == []
    assert locked(transactions) >= {
        "catalog_version",
        "dedupe_floor",
        "history_job",
        "processed_event",
        "progress_member",
        "nft_progress",
        "nft_instance",
        "silenced_badge",
        "nft_mint_queue",
        "outbox_sequence",
    }


async def test_waiting_commands_are_taken_up_and_ended_in_order(
    database: Database, transactions: list[Transaction]
) -> None:
    """By a batch that brings the badge, and by a turn of the sweep: what is due, what expired."""
    await with_catalog(database)
    wanted = [a_command("mint", who, type_code="ambassador") for who in (ALICE, BOB)]
    log = Log()
    log.append(*wanted, a_command("burn", UUID(int=3), type_code="ambassador"))
    await count(database, log)
    async with database.transaction() as conn:
        await conn.execute(
            text("UPDATE waiting_command SET expires_at = now() WHERE user_id = :who"),
            {"who": UUID(int=3)},
        )
        await conn.execute(
            text("UPDATE waiting_command SET silent = true WHERE user_id = :who"), {"who": BOB}
        )
    transactions.clear()
    log.append(a_partner(ALICE), a_partner(BOB))
    await count(database, log)
    (batch,) = (each for each in transactions if "nft_instance" in each.locked)
    assert batch.locked >= {"waiting_command", "command_log", "nft_mint_queue"}
    transactions.clear()
    await WaitingSweep(database, terms()).turn()
    assert contradictions(transactions) == []
    locks = [each.locked for each in transactions if "waiting_command" in each.locked]
    assert [sorted(each & {"command_log", "dead_letter"}) for each in locks] == [
        ["command_log"],
        ["dead_letter"],
    ]


async def test_a_silence_is_kept_and_ended_in_order(
    database: Database, transactions: list[Transaction]
) -> None:
    """The second batch ends it and has news of the same badge, and of another."""
    await with_catalog(database)
    log = Log()
    history = [a_partner(ALICE) for _ in range(2)]
    log.append(*history)
    transactions.clear()
    await count(database, log, await a_pipeline(database, publish=False, mint=False))
    log.append(*history, *(a_partner(ALICE) for _ in range(4)), a_partner(BOB))
    await count(database, log)
    assert contradictions(transactions) == []
    silent, live = (each for each in transactions if "silenced_badge" in each.locked)
    assert "outbox_sequence" not in silent.locked
    assert live.locked >= {"processed_event", "nft_instance", "nft_mint_queue", "outbox_sequence"}


async def test_a_new_catalog_locks_in_order(
    database: Database, database_url: str, transactions: list[Transaction]
) -> None:
    await with_catalog(database)
    await drive(database_url, a_history())
    transactions.clear()
    catalog = load(SHIPPED)
    # Every level is within reach and every badge has other metadata: all that `apply` can do.
    eager = [
        replace(
            badge_type,
            metadata_fields={},
            levels=tuple(
                replace(level, conditions={badge_type.counters[0]: {"gte": level.level}})
                for level in badge_type.levels
            ),
        )
        for badge_type in catalog.types
    ]
    outcome = await apply_catalog(database, replace(catalog, types=tuple(eager)), tenant_id=TENANT)
    assert outcome.raised + outcome.awarded > 0
    assert outcome.rewritten > 0
    assert contradictions(transactions) == []
    assert locked(transactions) >= {
        "catalog_version",
        "nft_progress",
        "nft_instance",
        "outbox_sequence",
    }


async def test_a_rebuild_locks_in_order(
    database: Database, transactions: list[Transaction]
) -> None:
    live = await Live.of(database)
    await live.count(*steps(ALICE, 4))
    await break_points(database, ALICE, 1)
    transactions.clear()
    made = rebuilding(database)
    await made.open()
    await live.fill()
    await made.swap(LOUD)
    await made.undo(LOUD)
    await made.finish()
    assert contradictions(transactions) == []
    assert locked(transactions) >= {"rebuild", "rebuild_event", "progress_member", "nft_progress"}


async def test_a_fill_locks_in_order(database: Database, transactions: list[Transaction]) -> None:
    """While its sources are taken, closed and undone."""
    before = await late_world(database)
    transactions.clear()
    for name in ("late_points", "late_standing"):
        await taken(database, name, before)
    counter = await the_counter(database, "late_points")
    await FillCloser(database, counter, TENANT).close(ClosingOptions())
    await fill.undo(database, "late_standing")
    assert contradictions(transactions) == []
    given = [each.locked for each in transactions if "nft_progress" in each.locked]
    assert given
    assert all(each >= {"catalog_version", "counter_fill", "outbox_sequence"} for each in given)
    assert all("counter_fill" in each.locked for each in transactions if each.locked & OF_A_FILL)


async def test_a_lock_out_of_order_is_found(
    database: Database, transactions: list[Transaction]
) -> None:
    async with database.transaction() as conn:
        await conn.execute(text("UPDATE outbox_sequence SET last_seq = 1 WHERE user_id IS NULL"))
        await conn.execute(text("SELECT FROM nft_progress WHERE user_id IS NULL"))
        await conn.execute(text("SELECT FROM nft_instance WHERE id IS NULL FOR UPDATE"))
    assert contradictions(transactions) == [
        "nft_instance after outbox_sequence: SELECT FROM nft_instance WHERE id IS NULL FOR UPDATE"
    ]


async def test_a_foreign_key_locks_too(database: Database, transactions: list[Transaction]) -> None:
    await with_catalog(database)
    transactions.clear()
    async with database.transaction() as conn:
        statement = """
            INSERT INTO nft_progress (type_id, user_id, last_event_at)
            SELECT id, :user_id, now() FROM nft_type LIMIT 1
        """
        await conn.execute(text(statement), {"user_id": UUID(int=1)})
    assert [step.tables for step in transactions[0].steps] == [{"nft_type"}]


def test_a_table_without_a_place_is_found() -> None:
    unknown = Transaction([Step(frozenset({"new_table"}), "UPDATE new_table")])
    assert contradictions([unknown]) == ["new_table has no place in the order: UPDATE new_table"]


def test_every_table_has_a_place() -> None:
    assert set(models.Base.metadata.tables) == (
        set(ORDER) | OF_THE_CATALOG | OF_A_FILL | OF_A_REBUILD | APPENDED | UNUSED
    )


def test_the_order_is_the_documented_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\d+\. `(\w+)`", page, re.MULTILINE)) == ORDER

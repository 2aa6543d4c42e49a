"""What `laurel status` shows of the database."""

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from ops.checks import CheckState, Said
from ops.settings import Settings
from ops.status import Board, Row, Section, worst
from store.engine import Database
from store.live_state import CatalogState, OutboxDepth, TaskGroup
from store.status import SOURCES, group_said, job_said, outbox_said
from store.values.minting import HoldReason, TaskOperation, TaskStatus
from tests.builders.world import World


async def shown(url: str) -> dict[str, Section]:
    board = Board(SOURCES, Settings(database_url=SecretStr(url)))
    async with board.following():
        await board.filled()
        return {each.title: each for each in board.sections()}


def state_of(said: Said) -> CheckState:
    return Row("any", said).state


async def test_a_fresh_database_is_told_as_one(database_url: str) -> None:
    found = await shown(database_url)
    assert list(found) == ["catalog", "mint queue", "outbox"]
    assert "laurel catalog apply" in found["catalog"].rows[0].text
    assert found["mint queue"].rows == (
        Row("waiting", "none"),
        Row("last confirmed", "none lately"),
    )
    assert found["outbox"].rows == (Row("unpublished", "none"),)


async def test_tasks_are_shown_by_state_and_hold_with_a_word_where_a_person_is_needed(
    database: Database, database_url: str
) -> None:
    world = World(database)
    await world.to_mint(2)
    await world.sql("UPDATE nft_mint_queue SET hold_reason = 'operator'")
    await world.to_mint(1)
    queue = (await shown(database_url))["mint queue"]
    due, held, last = queue.rows
    assert (due.label, due.state) == ("mint due", CheckState.OK)
    assert (held.label, held.state) == ("mint held: operator", CheckState.WARN)
    assert held.text.startswith("2, the oldest for ")
    assert "laurel queue list" in held.text
    assert last == Row("last confirmed", "none lately")
    assert queue.facts["tasks"][1] | {"oldest_seconds": 0} == {  # type: ignore[index]
        "operation": "mint",
        "status": "pending",
        "hold": "operator",
        "tasks": 2,
        "oldest_seconds": 0,
    }


async def test_a_database_that_is_away_says_so_in_each_section() -> None:
    found = await shown("postgresql://laurel@127.0.0.1:9/laurel")
    assert list(found) == ["catalog", "mint queue", "outbox"]
    assert {each.state for each in found.values()} == {CheckState.FAIL}
    assert all("127.0.0.1:9" in each.rows[0].text for each in found.values())


@pytest.mark.parametrize(
    ("hold", "age", "state"),
    [
        (None, 899, CheckState.OK),
        (None, 901, CheckState.WARN),
        (HoldReason.NO_WALLET, 90_000, CheckState.OK),
        (HoldReason.OPERATOR, 1, CheckState.WARN),
        (HoldReason.BREAKER, 1, CheckState.WARN),
        (HoldReason.RECIPIENT, 1, CheckState.WARN),
    ],
)
def test_a_person_is_needed_for_what_does_not_go_on_by_itself(
    hold: HoldReason | None, age: float, state: CheckState
) -> None:
    group = TaskGroup(TaskOperation.MINT, TaskStatus.PENDING, hold, 1, age)
    assert worst([state_of(group_said(group))]) is state


@pytest.mark.parametrize(
    ("job", "idle", "state"),
    [(None, 0, CheckState.OK), ("levels", 299, CheckState.OK), ("levels", 301, CheckState.WARN)],
)
def test_a_job_that_stands_needs_somebody_to_go_on_with_it(
    job: str | None, idle: float, state: CheckState
) -> None:
    catalog = CatalogState(2, datetime(2026, 11, 27, tzinfo=UTC), job, 10, idle)
    assert state_of(job_said(catalog)) is state


@pytest.mark.parametrize(
    ("depth", "state"),
    [
        (OutboxDepth(0, 0.0, is_published=True), CheckState.OK),
        (OutboxDepth(9, 90_000.0, is_published=False), CheckState.OK),
        (OutboxDepth(9, 299.0, is_published=True), CheckState.OK),
        (OutboxDepth(9, 301.0, is_published=True), CheckState.WARN),
    ],
)
def test_messages_are_late_only_where_somebody_publishes(
    depth: OutboxDepth, state: CheckState
) -> None:
    assert state_of(outbox_said(depth)) is state

"""`laurel events validate` says what the worker's reader says, of each line."""

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest

from ops.settings import Settings
from processor.batch.forecast import Forecast
from processor.catalog import load
from processor.events.records import Record
from processor.history import lines, validation
from processor.history.validation import Tally, Verdict
from store import retention
from store.engine import Database
from tests.builders.messages import (
    ALICE,
    NOW,
    a_command,
    a_partner,
    a_quest,
    a_wallet,
    an_address,
    an_event,
    encoded,
    with_catalog,
)
from tests.builders.reading import READER, UNHEARD

FORECAST = Forecast(READER, 1 << 20)


def records(*messages: dict[str, object] | bytes) -> Iterator[Record]:
    """Messages as the lines of a file."""
    text = b"".join((encoded(message) or b"") + b"\r\n" for message in messages)
    return lines.records(BytesIO(text), 1 << 20)


def of(*messages: dict[str, object] | bytes) -> list[Verdict]:
    return list(validation.verdicts(records(*messages), FORECAST, lambda: NOW))


def test_each_message_has_its_verdict_and_its_line() -> None:
    quest = an_event("quest.completed", ALICE, {"quest_id": None})
    assert of(
        a_quest(),
        b"",
        an_event(UNHEARD),
        a_wallet(ALICE, an_address(1)),
        a_command("mint", type_code="explorer"),
        quest,
        b"{",
    ) == [
        Verdict(1, "quest.completed"),
        Verdict(3, UNHEARD, heard=False),
        Verdict(4, "wallet.linked"),
        Verdict(5, "badge.mint"),
        Verdict(
            6,
            "quest.completed",
            reason="null_field",
            detail="Expected `str`, got `null` - at `$.quest_id`",
        ),
        Verdict(7, "unknown", reason="not_json", detail="Input data was truncated"),
    ]


def test_a_line_that_a_worker_would_not_read_is_said_to_be_too_large() -> None:
    quest = a_quest() | {"filler": "x" * (1 << 20)}
    before, large, after = of(a_quest(), quest, a_quest())
    assert (before.reason, large.line, large.reason, after.reason) == (None, 2, "too_large", None)


def test_each_line_is_held_against_the_time_it_comes_at() -> None:
    late = a_partner(ALICE, time=(NOW + timedelta(hours=1)).isoformat())
    clock = iter([NOW, NOW + timedelta(hours=1)])
    first, second = validation.verdicts(records(late, late), FORECAST, lambda: next(clock))
    assert (first.reason, second.reason) == ("too_new", None)


def test_the_tally_counts_by_type_and_by_reason() -> None:
    tally = Tally()
    for verdict in of(a_quest(), a_quest(), an_event(UNHEARD), b"{", a_quest(id="")):
        tally.add(verdict)
    assert (tally.taken, tally.unheard, tally.rejected) == (
        {"quest.completed": 2, UNHEARD: 1},
        {UNHEARD: 1},
        {"not_json": 1, "bad_envelope": 1},
    )


async def test_what_may_have_been_forgotten_is_too_old(
    database: Database, database_url: str
) -> None:
    await with_catalog(database)
    async with database.transaction() as conn:
        await retention.raise_floor(conn, (NOW + timedelta(days=1)).date())
    forecast = await validation.forecast_of(Settings(database_url=database_url), None)
    late = NOW + timedelta(days=2)
    (verdict,) = validation.verdicts(records(a_partner(ALICE)), forecast, lambda: late)
    assert verdict.reason == "too_old"


@pytest.mark.parametrize("named", [True, False])
async def test_without_a_database_the_files_say_what_is_declared(
    tmp_path: Path, *, named: bool
) -> None:
    (tmp_path / "walks.yaml").write_text("events: {walk.finished: {topic: walks}}")
    settings = Settings() if named else Settings(catalog_dir=tmp_path)
    found = await validation.catalog_of(settings, tmp_path if named else None)
    assert [spec.type for spec in found.events] == ["walk.finished"]
    assert await validation.catalog_of(Settings(), None) == load.load(load.SHIPPED)

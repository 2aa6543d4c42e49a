"""A history is counted as the stream would have counted it, and nothing of it twice."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from ops.lifecycle import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Stop
from ops.settings import Settings
from processor.batch.pipeline import CatalogChanged
from processor.catalog.load import SHIPPED
from processor.catalog.load import load as load_catalog
from processor.history.load_report import LoadReport
from processor.history.loading import load
from processor.history.slice_transaction import Speech
from store import catalogs, mint_queue
from store.engine import Database
from tests.builders.loads import SAID, loaded, read_of
from tests.builders.messages import ALICE, BOB, a_partner, a_quest, a_visit, user
from tests.builders.sql import rows

TOKENS = (
    "  tokens         7 to mint, 0.154 Grams at most"
    " (the settings' amounts, held against the prices of August 2026)"
)
COUNTERS = "SELECT user_id, counters FROM nft_progress ORDER BY user_id, type_id"
JOBS = "SELECT done, slices, state, counted, duplicates, refused FROM history_job ORDER BY id"


async def test_a_history_is_counted_once(counting: Database) -> None:
    quests = [a_quest(ALICE), a_quest(BOB), a_quest(ALICE)]
    read = await read_of(counting, [*quests, quests[0]])
    report = await loaded(counting, read)
    assert report == LoadReport(
        read=4,
        counted=3,
        repeated=1,
        slices=3,
        finished=True,
        levels=report.levels,
        mint_nano=22_000_000,
    )
    counted = await rows(counting, COUNTERS)
    again = await loaded(counting, await read_of(counting, quests))
    assert (again.counted, again.known) == (0, 3)
    assert await rows(counting, COUNTERS) == counted
    assert await rows(counting, JOBS) == [(3, 3, "done", 3, 1, 0), (3, 3, "done", 0, 3, 0)]


async def test_another_event_under_a_known_id_is_named_by_its_place(counting: Database) -> None:
    quest = a_quest(ALICE)
    await loaded(counting, await read_of(counting, [quest]))
    stolen = a_visit(BOB, id=quest["id"])
    report = await loaded(counting, await read_of(counting, [a_quest(BOB), stolen]))
    assert (report.counted, report.known, report.conflicts) == (1, 0, [1])
    assert report.refused == Counter({"event_id_conflict": 1})


class StopAfter:
    """Asks for the end once so many slices are done."""

    def __init__(self, slices: int) -> None:
        self.stop = Stop()
        self._slices = slices

    async def loaded(self, slices: int, total: int) -> None:
        del total
        if slices == self._slices:
            self.stop.request()


async def test_what_was_read_by_another_catalog_is_read_again(counting: Database) -> None:
    quests = [a_quest(user(number)) for number in range(9)]
    read = await read_of(counting, quests)
    listener = StopAfter(1)
    await load(counting, Settings(), read, Speech(), listener.stop, listener)
    async with counting.transaction() as conn:
        shipped = load_catalog(SHIPPED)
        await catalogs.apply(conn, replace(shipped, types=shipped.types[:-1]), "admin")
    again = await read_of(counting, quests)
    listener = StopAfter(1)
    await load(counting, Settings(), again, Speech(), listener.stop, listener)
    # It takes nobody's job over.
    with pytest.raises(CatalogChanged):
        await loaded(counting, read)
    report = await loaded(counting, again)
    assert (report.resumed_at, report.counted + report.known) == (2, 9)
    states = [state for _, _, state, *_ in await rows(counting, JOBS)]
    assert states == ["superseded", "done"]


async def test_mints_come_last_and_one_after_the_other(counting: Database) -> None:
    people = [user(number) for number in range(5)]
    partners = [a_partner(who) for who in people for _ in range(50)]
    report = await loaded(
        counting, await read_of(counting, partners), Speech(mint=True, mints_per_second=0.5)
    )
    assert report.mints == len(people)
    assert report.cost_nano == len(people) * 22_000_000
    ((begun,),) = await rows(counting, "SELECT created_at FROM history_job")
    tasks = await rows(
        counting, "SELECT priority, run_after FROM nft_mint_queue ORDER BY run_after"
    )
    assert tasks == [
        (mint_queue.PRIORITY_OF_HISTORY, begun + timedelta(seconds=2 * n))
        for n in range(len(people))
    ]


async def test_what_is_silent_says_how_many_tokens_are_left(counting: Database) -> None:
    partners = [a_partner(ALICE) for _ in range(50)]
    report = await loaded(counting, await read_of(counting, partners))
    assert report.mints == 1
    assert await rows(counting, "SELECT FROM nft_mint_queue") == []
    assert await rows(counting, "SELECT mint FROM silenced_badge") == [(True,)]


async def test_a_run_that_is_asked_to_end_is_gone_on_with(counting: Database) -> None:
    listener = StopAfter(1)
    read = await read_of(counting, [a_quest(user(number)) for number in range(9)], slices=4)
    first = await load(counting, Settings(), read, Speech(), listener.stop, listener)
    assert (first.finished, first.resumed_at, first.slices) == (False, 0, 4)
    assert 0 < first.counted < 9
    assert first.exit_code(strict=True) == EXIT_INTERRUPTED
    second = await loaded(counting, read)
    assert (second.finished, second.resumed_at, second.counted) == (True, 2, 9)
    assert second.exit_code(strict=True) == EXIT_OK


async def test_the_same_input_with_other_options_takes_the_job_over(counting: Database) -> None:
    """What was counted stays counted, and what was silent is said."""
    partners = [a_partner(who) for who in (ALICE, BOB) for _ in range(3)]
    await loaded(counting, await read_of(counting, partners))
    messages = "SELECT user_id, event_type FROM outbox_message ORDER BY user_id"
    assert await rows(counting, messages) == []
    for _ in range(2):
        report = await loaded(counting, await read_of(counting, partners), SAID)
        assert (report.counted, report.known) == (0, 6)
        assert await rows(counting, messages) == [(who, "badge.created") for who in (ALICE, BOB)]


def test_a_report_reads_as_a_person_and_a_script_read_it() -> None:
    report = LoadReport(
        read=1_200,
        counted=1_000,
        repeated=50,
        known=130,
        refused=Counter({"event_id_conflict": 20}),
        levels=Counter({("explorer", 2): 7}),
        samples={("explorer", 2): [ALICE]},
        mints=7,
        mint_nano=22_000_000,
        slices=2,
        finished=True,
        dry_run=True,
        seconds=1.5,
    )
    assert report.text.splitlines() == [
        "1,200 records in 1.5 s",
        "  would count    1,000",
        "  duplicates     180 (50 within the input, 130 counted before)",
        "  refused        20",
        "    event_id_conflict        20",
        "  levels         7",
        f"    explorer               2          7  {ALICE}",
        TOKENS,
    ]
    assert report.document["mints"] == {
        "tokens": 7,
        "cost_nanograms": 154_000_000,
        "prices_of": "August 2026",
    }
    assert report.exit_code(strict=True) == EXIT_USAGE
    assert report.exit_code(strict=False) == EXIT_OK

"""What a load would come to is what it then comes to, and nothing is written meanwhile."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from ops.lifecycle import Stop
from ops.settings import DEFAULT_TENANT, Settings
from processor.catalog.job import JobRunner
from processor.history.forecast import SAMPLES, Gains, add_gains, forecast
from processor.history.load_report import LoadReport
from processor.history.loading import ReadHistory
from processor.history.slice_transaction import Speech
from sandbox.postgres import PostgresServer
from store import catalogs
from store.catalogs import CountersPending
from store.engine import Database
from store.exact_json import dumped
from tests.builders.chance import CatalogTeller, MessageTeller, compiled
from tests.builders.clock import FakeClock
from tests.builders.loads import SAID, SILENT, Untold, compiled_of, loaded, read_of
from tests.builders.messages import NOW, a_partner, a_quest, a_visit, user
from tests.builders.sql import rows

PEOPLE = [user(number) for number in range(9)]


@pytest.fixture(scope="session")
def database_server(any_postgres: PostgresServer) -> PostgresServer:
    return any_postgres


async def told(database: Database, read: ReadHistory, speech: Speech = SILENT) -> LoadReport:
    report = await forecast(database, Settings(), read, speech, Stop(), Untold(), FakeClock(NOW))
    return replace(report, seconds=0.0)


def without_samples(report: LoadReport) -> LoadReport:
    return replace(report, samples={}, dry_run=False)


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_forecast_comes(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    teller, messages = CatalogTeller(chance), MessageTeller(chance)
    rules = teller.first()
    runner = JobRunner(database, DEFAULT_TENANT, FakeClock(NOW))
    for _ in range(6):
        async with database.transaction() as conn:
            try:
                await catalogs.apply(conn, compiled(rules), "admin")
            except CountersPending:
                await conn.rollback()
        await runner.work_off()
        for _ in range(2):
            some = [dumped(each).encode() for each in messages.some(20)]
            read = await read_of(database, some)
            speech = chance.choice((SILENT, SAID, Speech(mint=True), Speech(publish=True)))
            report = await told(database, read, speech)
            assert report.dry_run
            assert without_samples(report) == await loaded(database, read, speech)
        rules = teller.following(rules)


async def test_nothing_is_written(counting: Database) -> None:
    read = await read_of(counting, [a_partner(PEOPLE[0]) for _ in range(9)])
    assert (await told(counting, read)).levels.total() == 1
    for table in ("processed_event", "nft_progress", "history_job", "offset_ledger"):
        assert await rows(counting, f"SELECT FROM {table}") == []


async def test_who_gains_is_shown_by_a_few(counting: Database) -> None:
    partners = [a_partner(who) for who in PEOPLE for _ in range(3)]
    report = await told(counting, await read_of(counting, [*partners, a_quest(), a_visit()]))
    assert report.levels == Counter({("ambassador", 2): len(PEOPLE)})
    ((reached, samples),) = report.samples.items()
    assert reached == ("ambassador", 2)
    assert len(samples) == SAMPLES
    assert set(samples) < set(PEOPLE)


async def test_counters_of_any_origin_are_forecast(counting: Database) -> None:
    """What fills a counter brings numbers, and no events."""
    catalog = await compiled_of(counting)
    (badge_type,) = [
        each for each in catalog.rulebook.by_id.values() if each.spec.code == "ambassador"
    ]
    (name,) = badge_type.spec.counters
    added = {(who, badge_type.spec.id): {name: 3} for who in PEOPLE}
    found = Gains()
    async with counting.reading() as conn:
        await add_gains(conn, catalog, added, found)
    assert found.levels == Counter({("ambassador", 2): len(PEOPLE)})


async def test_a_forecast_that_is_asked_to_end_is_no_whole_one(counting: Database) -> None:
    stop = Stop()
    stop.request()
    read = await read_of(counting, [a_quest()])
    report = await forecast(counting, Settings(), read, SILENT, stop, Untold())
    assert not report.finished

"""kill -9 between every two statements of a load of history, then the same command again.

What comes out is what an undisturbed load leaves: nothing is counted twice, nothing is left out,
and the report is that of one run.
"""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import replace

import pytest

from ops.faults import Point
from processor.events.chunks import PlainRecord
from processor.history.kept_records import OtherRecord
from processor.history.load_report import LoadReport
from processor.history.loading import ReadHistory
from processor.history.slice_transaction import Speech
from sandbox.postgres import PostgresServer
from store import migrations
from store.engine import Database
from tests.builders.databases import empty_database
from tests.builders.forked import forked
from tests.builders.history import facts
from tests.builders.loads import SILENT, loaded, read_of
from tests.builders.messages import (
    Log,
    a_command,
    a_partner,
    a_quest,
    a_review,
    a_visit,
    a_wallet,
    an_address,
    count,
    encoded,
    user,
    with_catalog,
)
from tests.builders.sql import rows

PEOPLE = [user(number) for number in range(9)]
SLICES = 3
# A turn of each mint so long after the one before that no run takes as long.
TURN_S = 1_000
SAID = Speech(publish=True, mint=True, mints_per_second=1 / TURN_S)
# Of what a slice shares with a batch: what it writes about badges.
_SHARED = ("raised", "revoked", "created", "silenced", "audited")
# In the second slice, with one that is done and one that is not begun.
KILLS = [
    (point, 2)
    for point in Point
    if point.startswith("history.") or point in {f"batch.{each}" for each in _SHARED}
]
# The first slice, the last, and what comes after all of them.
KILLS += [(Point.HISTORY_DEDUPLICATED, 1), (Point.HISTORY_COMMITTED, 1)]
KILLS += [(Point.HISTORY_MOVED, 3), (Point.HISTORY_COMMITTED, 3), (Point.BATCH_ADVANCED, 1)]

# Told once: a process that is killed and the one after it read the same.
EARLIER = [a_partner(who, id=f"partner-{who}-{n}") for who in PEOPLE for n in range(3)]
STREAMED = [a_quest(who, id=f"quest-{who}-{n}") for who in PEOPLE for n in range(2)]
HISTORY = [
    *EARLIER[::2],
    *STREAMED[::2],
    *(a_partner(who, id=f"more-{who}-{n}") for who in PEOPLE for n in range(50)),
    *(a_visit(who, f"city-{n}", id=f"visit-{who}-{n}") for who in PEOPLE for n in range(4)),
    *(a_review(who, f"review-{who}", id=f"posted-{who}") for who in PEOPLE),
    *(a_review(who, f"review-{who}", id=f"cut-{who}", removed=True) for who in PEOPLE[:4]),
    *(a_visit(PEOPLE[1], id=each["id"]) for each in STREAMED[1:2]),
]
OTHERS = [
    *(a_wallet(who, an_address(n)) for n, who in enumerate(PEOPLE[:5])),
    a_command("award", PEOPLE[0], "wish", type_code="explorer", level=2),
]


async def prepare(url: str) -> None:
    """Count some of the history in silence, and some by the stream."""
    async with Database(url) as database:
        await with_catalog(database)
        await loaded(database, await read_of(database, EARLIER), SILENT)
        log = Log()
        log.append(*STREAMED)
        await count(database, log)


async def load(url: str, speech: Speech) -> LoadReport:
    async with Database(url) as database:
        read = await read_of(database, HISTORY, SLICES)
        return await loaded(database, _with_others(read), speech)


def _with_others(read: ReadHistory) -> ReadHistory:
    others = [
        OtherRecord(place, None, PlainRecord(0, encoded(each)))
        for place, each in enumerate(OTHERS, len(HISTORY))
    ]
    return replace(read, others=others)


async def outcome(url: str) -> Mapping[str, object]:
    queries = {
        "silenced": "SELECT nft_instance_id, message, mint FROM silenced_badge",
        "silent": "SELECT event_key, first_version, silent FROM processed_event",
        "latest": "SELECT user_id, type_id, last_event_at FROM nft_progress",
        "waits": f"SELECT floor(extract(epoch FROM run_after - job.created_at) / {TURN_S})"
        "  FROM nft_mint_queue, history_job AS job"
        " WHERE priority = 100 AND options @> '{\"mint\": true}'",
        "job": "SELECT done, counted, duplicates, conflicts, levels, mints, state FROM history_job",
        "counters": "SELECT name FROM counter_definition WHERE has_counted",
    }
    found = dict(await facts(url))
    async with Database(url) as database:
        for name, query in queries.items():
            found[f"{name} of a load"] = sorted(map(str, await rows(database, query)))
    return found


Truth = tuple[Mapping[str, object], LoadReport]


@pytest.fixture(scope="module", params=[SILENT, SAID], ids=["silent", "said"])
def speech(request: pytest.FixtureRequest) -> Speech:
    chosen: Speech = request.param
    return chosen


@pytest.fixture(scope="module")
def truth(database_server: PostgresServer, speech: Speech) -> Truth:
    """What a load leaves that nobody disturbs, and what it says."""

    async def undisturbed() -> Truth:
        async with empty_database(database_server) as url:
            await migrations.upgrade(url)
            await prepare(url)
            report = await load(url, speech)
            return await outcome(url), report

    return asyncio.run(undisturbed())


@pytest.mark.parametrize(("point", "passing"), KILLS)
def test_a_killed_load_comes_to_what_an_undisturbed_one_does(
    point: str, passing: int, database_url: str, truth: Truth, speech: Speech
) -> None:
    asyncio.run(prepare(database_url))
    killed = forked(f"{point}:{passing}", lambda: load(database_url, speech))
    assert killed == signal.SIGKILL
    report = asyncio.run(load(database_url, speech))
    left, said = truth
    assert asyncio.run(outcome(database_url)) == left
    # What is no event has been carried out by the run that did it.
    assert replace(report, resumed_at=0, others=0) == replace(said, others=0)


def test_the_load_has_something_to_do_for_each_statement(truth: Truth, speech: Speech) -> None:
    left, report = truth
    unspoken = {"tasks", "outbox", "waits of a load"} if speech == SILENT else set()
    spoken = set() if speech == SILENT else {"silenced of a load"}
    assert {name for name, listed in left.items() if not listed} == unspoken | spoken | {
        "waiting",
        "dead letters",
    }
    assert report.known
    assert report.conflicts
    assert report.mints

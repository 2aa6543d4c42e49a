"""A history is counted as the stream would have counted it, and nothing of it twice."""

from collections import Counter

from processor.history.load_report import LoadReport
from store.engine import Database
from tests.builders.loads import loaded, read_of
from tests.builders.messages import ALICE, BOB, a_quest, a_visit
from tests.builders.sql import rows

COUNTERS = "SELECT user_id, counters FROM nft_progress ORDER BY user_id, type_id"
JOBS = "SELECT done, slices, state, counted, duplicates, refused FROM history_job ORDER BY id"


async def test_a_history_is_counted_once(counting: Database) -> None:
    quests = [a_quest(ALICE), a_quest(BOB), a_quest(ALICE)]
    read = await read_of(counting, [*quests, quests[0]])
    report = await loaded(counting, read)
    assert report == LoadReport(
        read=4, counted=3, repeated=1, slices=3, finished=True, levels=report.levels
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

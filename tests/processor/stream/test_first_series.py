"""What a catalog and its topics may move is there at 0, before it moves."""

from dataclasses import replace

from processor.stream.first_series import FirstSeries
from store.values.stream import PauseReason, Reason
from tests.builders import metrics
from tests.builders.catalogs import a_catalog, a_level, a_type, an_event

_EVENT = {"counted", "duplicate", "ignored", "dead_letter"}
_WALLET = {"applied", "repeated", "dead_letter"}
_COMMAND = {"applied", "repeated", "waiting", "dead_letter"}
OUTCOMES = {
    "hike.begun": _EVENT,
    "hike.ended": _EVENT,
    "wallet.linked": _WALLET,
    "wallet.unlinked": _WALLET,
    "badge.award": _COMMAND,
    "badge.mint": _COMMAND,
    "badge.burn": _COMMAND,
    "badge.revoke": _COMMAND,
    "unknown": {"dead_letter"},
}
CATALOG = replace(
    a_catalog(
        a_type(
            *(a_level(level, {"points": {"gte": level}}) for level in (1, 2)), code="first_walker"
        ),
        events=(an_event("hike.begun"), an_event("hike.ended")),
    ),
    version=7,
)
TOPICS = ("first.hikes", "first.commands")


def test_each_outcome_of_each_type_shows() -> None:
    FirstSeries().show(CATALOG, TOPICS)
    shown = metrics.series("laurel_events_total")
    for kind, outcomes in OUTCOMES.items():
        assert {outcome for known, outcome in shown if known == kind} >= outcomes
    assert shown["hike.begun", "counted"] == 0
    levels = metrics.series("laurel_levels_total")
    assert [levels["first_walker", level] for level in ("1", "2")] == [0, 0]


def test_each_reason_and_the_age_of_events_shows_for_each_topic_that_is_read() -> None:
    FirstSeries().show(CATALOG, TOPICS)
    letters = metrics.series("laurel_dead_letters_total")
    assert [letters[topic, reason] for topic in TOPICS for reason in Reason] == [0] * (
        2 * len(Reason)
    )
    pauses = metrics.series("laurel_partitions_paused")
    assert [pauses[topic, reason] for topic in TOPICS for reason in PauseReason] == [0] * (
        2 * len(PauseReason)
    )
    assert [metrics.value("laurel_event_age_seconds_count", topic) for topic in TOPICS] == [0, 0]


def test_a_new_version_brings_its_own_and_takes_nothing_back() -> None:
    series = FirstSeries()
    series.show(CATALOG, TOPICS)
    assert metrics.value("laurel_catalog_version") == 7
    later = replace(CATALOG, version=8, events=(*CATALOG.events, an_event("hike.paused")))
    series.show(later, (*TOPICS, "first.later"))
    assert metrics.value("laurel_catalog_version") == 8
    assert metrics.value("laurel_events_total", "hike.paused", "counted") == 0
    assert metrics.value("laurel_dead_letters_total", "first.later", "not_json") == 0
    assert metrics.value("laurel_events_total", "hike.ended", "counted") == 0


def test_what_is_tried_again_shows() -> None:
    FirstSeries()
    retries = metrics.series("laurel_retries_total")
    assert {
        ("batch", "transaction_conflict"),
        ("waiting", "transaction_conflict"),
        ("catalog_slice", "transaction_conflict"),
        ("postgresql", "database_unreachable"),
    } <= set(retries)

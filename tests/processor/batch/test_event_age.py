"""How old records are at their commit, by their Kafka timestamps."""

from datetime import timedelta

from processor.batch import event_age
from processor.events.chunks import Chunk, PlainRecord
from tests.builders.messages import NOW
from tests.builders.metrics import Moved


def of_age(*ages: timedelta | None) -> Chunk:
    """A chunk whose records are so old at NOW, None for one without a timestamp."""
    stamps = [-1 if age is None else round((NOW - age).timestamp() * 1_000) for age in ages]
    records = [PlainRecord(offset, b"", timestamp=at) for offset, at in enumerate(stamps)]
    return Chunk("laurel.aged", 0, 0, records)


def test_each_record_falls_into_the_bucket_of_its_age_whatever_their_order() -> None:
    moved = Moved()
    event_age.observe(
        of_age(
            timedelta(seconds=60),
            timedelta(milliseconds=300),
            timedelta(hours=2, seconds=1),
            timedelta(seconds=60),
            timedelta(milliseconds=50),
        ),
        NOW,
    )
    assert moved.by("laurel_event_age_seconds_count") == {("laurel.aged",): 5}
    assert moved.by("laurel_event_age_seconds_sum") == {("laurel.aged",): 60 + 60 + 7201 + 0.35}
    within = moved.by("laurel_event_age_seconds_bucket")
    assert {bound: number for (_, bound), number in within.items()} == {
        "0.05": 1,
        "0.1": 1,
        "0.25": 1,
        **dict.fromkeys(("0.5", "1.0", "2.5", "5.0", "10.0", "30.0"), 2),
        **dict.fromkeys(("60.0", "300.0", "1800.0", "7200.0"), 4),
        "+Inf": 5,
    }


def test_a_record_of_the_future_is_new_and_one_without_a_time_is_left_out() -> None:
    moved = Moved()
    event_age.observe(of_age(timedelta(minutes=-5), None, timedelta(seconds=2)), NOW)
    assert moved.by("laurel_event_age_seconds_count") == {("laurel.aged",): 2}
    assert moved.by("laurel_event_age_seconds_sum") == {("laurel.aged",): 2}
    within = moved.by("laurel_event_age_seconds_bucket")
    assert within["laurel.aged", "0.05"] == 1
    assert within["laurel.aged", "2.5"] == 2

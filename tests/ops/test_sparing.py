"""A library says the same thing once a minute; all else passes."""

import json
import logging
from io import StringIO

import pytest

from ops import logs
from ops.sparing import Sparing


class Bench:
    def __init__(self) -> None:
        self.now = 0.0
        self.filter = Sparing(("aiokafka",), lambda: self.now)

    def says(self, name: str, text: str, *values: object, level: int = logging.ERROR) -> int | None:
        """Return how many were left out before this one, or None where it is left out itself."""
        record = logging.LogRecord(name, level, "", 0, text, values, None)
        return getattr(record, "left_out", 0) if self.filter.filter(record) else None


def test_the_same_text_is_told_once_a_minute_whatever_its_values() -> None:
    bench = Bench()
    told = [bench.says("aiokafka.client", "Unable connect to %s", node) for node in range(5)]
    assert told == [0, None, None, None, None]
    bench.now = 61
    assert bench.says("aiokafka.client", "Unable connect to %s", 0) == 4
    assert bench.says("aiokafka.client", "Unable connect to %s", 0) is None


def test_another_text_or_level_is_told() -> None:
    bench = Bench()
    assert bench.says("aiokafka", "one") == 0
    assert bench.says("aiokafka", "two") == 0
    assert bench.says("aiokafka", "one", level=logging.WARNING) == 0


@pytest.mark.parametrize("name", ["worker", "aiokafkas", "laurel.aiokafka"])
def test_others_are_not_spared(name: str) -> None:
    bench = Bench()
    assert [bench.says(name, "the same") for _ in range(3)] == [0, 0, 0]


def test_texts_that_never_repeat_take_no_memory_for_ever() -> None:
    bench = Bench()
    for number in range(5_000):
        assert bench.says("aiokafka", f"number {number}") == 0
    assert len(bench.filter._said) <= 1_000


def test_a_process_logs_so() -> None:
    stream = StringIO()
    try:
        logs.configure(json=True, stream=stream)
        for _ in range(100):
            logging.getLogger("aiokafka.client").error("Unable connect to %s", "kafka:9092")
            logs.logger("worker").info("batch_counted")
    finally:
        logs.configure()
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events.count("Unable connect to kafka:9092") == 1
    assert events.count("batch_counted") == 100

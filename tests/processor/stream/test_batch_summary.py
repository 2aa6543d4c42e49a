"""One line every ten seconds about what was counted."""

from collections.abc import Sequence
from datetime import timedelta

from structlog.testing import capture_logs

from processor.batch.attempt import BatchOutcome
from processor.batch.staging import ReadChunk
from processor.stream.batch_summary import BatchSummary
from tests.builders.clock import FakeClock


class Committed:
    def __init__(self, *outcomes: BatchOutcome) -> None:
        self.outcomes = list(outcomes)

    async def __call__(self, _chunks: Sequence[ReadChunk]) -> BatchOutcome:
        return self.outcomes.pop(0)


async def test_batches_are_added_up_and_told_once() -> None:
    clock = FakeClock()
    summary = BatchSummary(clock)
    commit = summary.over(
        Committed(
            BatchOutcome(10, 7, 3, 1, (), {}),
            BatchOutcome(5, 5, 0, 0, (), {}),
            BatchOutcome(0, 0, 0, 0, (), {}),
        )
    )
    outcomes = [await commit([]) for _ in range(3)]
    assert [each.records for each in outcomes] == [10, 5, 0]  # the batcher still has each
    clock.advance(timedelta(seconds=10))
    with capture_logs() as logs:
        summary.log()
        summary.log()
    assert [{**line, "log_level": ""} for line in logs] == [
        {
            "component": "worker",
            "event": "batches_committed",
            "log_level": "",
            "batches": 2,
            "records": 15,
            "counted": 12,
            "duplicates": 3,
            "dead_letters": 0,
            "levels": 1,
            "seconds": 10.0,
        }
    ]

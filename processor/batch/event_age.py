"""How old records are when they count."""

from bisect import bisect_left
from datetime import datetime

from ops import metrics
from processor.events.chunks import Chunk


def observe(chunk: Chunk, committed_at: datetime) -> None:
    """Add the age of each record of a committed chunk to the metric, by its Kafka timestamp.

    A record without one is left out, one of the future is new. Of thousands at once, since a
    microsecond for each would be felt (ops/bulk_histogram.py).
    """
    now_ms = committed_at.timestamp() * 1_000
    ages = sorted(
        [
            (now_ms - record.timestamp) / 1_000
            for record in chunk.records
            if record.timestamp >= 0  # -1: it has none
        ]
    )
    ahead = bisect_left(ages, 0.0)
    ages[:ahead] = [0.0] * ahead
    metrics.EVENT_AGE_SECONDS.labels(chunk.topic).observe_sorted(ages)

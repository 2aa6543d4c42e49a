"""Many observations at once are those of `observe`, one by one."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from ops.bulk_histogram import BulkHistogram

BOUNDS = (0.5, 1.0, 10.0)


def samples(histogram: Histogram) -> list[tuple[str, dict[str, str], float]]:
    (metric,) = histogram.collect()
    return [(each.name, each.labels, each.value) for each in metric.samples]


# Multiples of a quarter: each bound itself among them, and sums that are exact in any order.
@given(st.lists(st.lists(st.integers(0, 80).map(lambda quarters: quarters / 4), max_size=40)))
def test_many_at_once_are_as_one_by_one(batches: list[list[float]]) -> None:
    at_once = BulkHistogram("x", "d", ("topic",), registry=CollectorRegistry(), buckets=BOUNDS)
    singly = Histogram("x", "d", ("topic",), registry=CollectorRegistry(), buckets=BOUNDS)
    singly.labels("t")
    at_once.labels("t")
    for amounts in batches:
        at_once.labels("t").observe_sorted(sorted(amounts))
        for amount in amounts:
            singly.labels("t").observe(amount)
    assert samples(at_once) == samples(singly)

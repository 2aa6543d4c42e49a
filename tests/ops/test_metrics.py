"""Every metric is documented, and moved by a run that a test asserts."""

import re
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from ops import metrics
from tests.builders import metric_tables as tables

DOCS = Path(__file__).parents[2] / "docs"
ASSERTED = {
    *tables.COUNTED_BY_WORKER,
    *tables.SHOWN_BY_WORKER,
    *tables.COUNTED_BY_MINTER,
    *tables.SHOWN_BY_MINTER,
    *tables.OF_THE_CHAIN,
}


def declared() -> set[str]:
    """The name of every metric, as docs/metrics.md and /metrics have it."""
    names = set()
    for each in vars(metrics).values():
        if isinstance(each, Counter | Gauge | Histogram):
            (described,) = each.describe()
            names.add(described.name + ("_total" if isinstance(each, Counter) else ""))
    return names


def test_every_metric_is_in_the_table_of_a_run() -> None:
    assert {re.sub("_(count|sum)$", "", sample) for sample in ASSERTED} == declared()


def test_every_metric_is_in_the_documentation() -> None:
    rows = (DOCS / "metrics.md").read_text().splitlines()
    assert {row.split("`")[1] for row in rows if row.startswith("| `")} == declared()

"""A process shows the metrics of what it does."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from ops import metrics
from ops.metric_roles import OF_ROLE, Role, recall, registry_of, roles_of, write_textfile
from processor.batch.stats import show_reasons
from store.values.stream import Reason
from tests.builders.metrics import value

LAST = "laurel_reconcile_last_success_timestamp_seconds"


def shown(role: Role) -> dict[str, float]:
    return {
        sample.name + str(sample.labels or ""): sample.value
        for metric in registry_of(role).collect()
        for sample in metric.samples
    }


def test_every_metric_is_of_a_process_that_stays_or_of_a_command() -> None:
    declared = [
        each for each in vars(metrics).values() if isinstance(each, Counter | Gauge | Histogram)
    ]
    assert [each for each in declared if not roles_of(each)] == []
    assert all(len(set(each)) == len(each) for each in OF_ROLE.values())


@pytest.mark.parametrize(
    ("role", "has", "lacks"),
    [
        (Role.WORKER, "laurel_batch_seconds_count", "laurel_wallet_balance_nanograms"),
        (Role.MINTER, "laurel_wallet_balance_nanograms", "laurel_batch_seconds_count"),
        (Role.BACKFILL, "laurel_batch_seconds_count", "laurel_ready"),
        (Role.RECONCILE, "laurel_reconcile_seconds_count", "laurel_ready"),
    ],
)
def test_one_role_shows_nothing_of_another(role: Role, has: str, lacks: str) -> None:
    names = set(shown(role))
    assert has in names
    assert lacks not in names
    assert "process_resident_memory_bytes" in names
    assert not [name for name in names if "_created" in name]


def test_a_reason_shows_before_its_first_dead_letter() -> None:
    show_reasons()
    text = generate_latest(registry_of(Role.WORKER)).decode()
    assert all(f'laurel_dead_letters_total{{reason="{each}"}}' in text for each in Reason)
    assert 'laurel_ledger_events_total{event="fenced"}' in text


@pytest.mark.integration
def test_what_a_minter_does_not_know_yet_is_no_number() -> None:
    # In a process of its own: other tests of this one may have seen a block.
    program = """
from ops.metric_roles import Role
from tests.ops.test_metric_roles import shown
print(shown(Role.MINTER)["laurel_wallet_balance_nanograms"])
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert math.isnan(float(said.stdout))


def test_the_textfile_has_the_roles_metrics_alone(tmp_path: Path) -> None:
    write_textfile(tmp_path / "laurel.prom", Role.RECONCILE)
    written = (tmp_path / "laurel.prom").read_text()
    assert "laurel_reconcile_seconds_count" in written
    assert "process_" not in written


def test_what_an_earlier_call_wrote_is_recalled(tmp_path: Path) -> None:
    path, found, at = (
        tmp_path / "laurel.prom",
        metrics.RECONCILE_FINDINGS,
        metrics.RECONCILE_LAST_SUCCESS,
    )
    found.labels("lost_id").set(3)
    at.set(1_795_000_000)
    write_textfile(path, Role.RECONCILE)
    found.labels("lost_id").set(0)
    at.set(0)
    recall(path, at)
    assert (value("laurel_reconcile_findings", "lost_id"), value(LAST)) == (0, 1_795_000_000)
    recall(path, found)
    assert value("laurel_reconcile_findings", "lost_id") == 3
    # Nothing to recall, or nothing that can be read.
    recall(tmp_path / "none.prom", at)
    path.write_text('laurel_reconcile_findings{finding="lost_id"} many')
    recall(path, found)
    assert (value("laurel_reconcile_findings", "lost_id"), value(LAST)) == (3, 1_795_000_000)

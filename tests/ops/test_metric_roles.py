"""A process shows the metrics of what it does."""

import math
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from ops import metrics
from ops.metric_roles import OF_ROLE, Role, recall, registry_of, roles_of, write_textfile
from store.engine import DatabaseUnreachable
from tests.builders import metric_tables
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


@pytest.mark.parametrize("role", [Role.WORKER, Role.MINTER])
def test_a_process_that_stays_says_what_it_is_and_shows_each_error_from_the_start(
    role: Role,
) -> None:
    found = shown(role)
    labels = {"version": version("laurel"), "python": python_version()}
    assert found[f"laurel_build_info{labels}"] == 1
    for code in (DatabaseUnreachable.code, "invariant_broken", "unknown"):
        assert f"laurel_errors_total{ {'code': code} }" in found
    assert "process_start_time_seconds" in found


def test_what_has_no_catalog_and_no_topic_shows_from_the_start() -> None:
    text = generate_latest(registry_of(Role.WORKER)).decode()
    for phase in metric_tables.PHASES:
        assert f'laurel_batch_phase_seconds_count{{phase="{phase}"}}' in text
    assert 'laurel_ledger_events_total{event="fenced"}' in text
    assert 'laurel_catalog_job_users{state="left"}' in text


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

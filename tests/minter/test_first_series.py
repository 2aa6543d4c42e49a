"""What a minter shows before anything has happened."""

import subprocess
import sys

import pytest


@pytest.mark.integration
def test_every_series_of_a_closed_set_shows_from_the_start() -> None:
    # In a process of its own: other tests of this one have moved the metrics.
    program = """
from minter import first_series
from ops.metric_roles import Role, registry_of
first_series.show()
for metric in registry_of(Role.MINTER).collect():
    for sample in metric.samples:
        if sample.labels and sample.name.endswith(("_total", "_count", "tasks", "_seconds", "findings")):
            print(sample.name, *sample.labels.values(), sample.value)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    shown = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in said.stdout.splitlines()}
    for series in (
        "laurel_mint_tasks mint pending no_wallet",
        "laurel_mint_tasks revoke_second failed none",
        "laurel_mint_task_oldest_seconds burn sent none",
        "laurel_mint_stage_seconds_count mint wallet",
        "laurel_mint_stage_seconds_count burn total",
        "laurel_mint_decisions_total mint park",
        "laurel_mint_not_signed_total burn insufficient_funds",
        "laurel_message_sends_total deploy unknown",
        "laurel_reconcile_findings unknown_token",
    ):
        assert float(shown[series]) == 0

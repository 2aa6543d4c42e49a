"""The file of a run in its phases, each with the outcome to expect after it."""

from pathlib import Path

import pytest

from demo.events.options import Plan
from demo.oracle.catalog import Badges
from demo.oracle.expected import expected_outcome
from demo.phases import write_phases
from demo.records import Record
from ops.errors import UsageError
from tests.demo.conftest import SMALL

pytestmark = pytest.mark.integration


def test_a_plan_that_earns_no_tokens_is_refused(badges: Badges, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"40 events of 20 travellers earn too few tokens\. Make --events larger\."
    ):
        write_phases(Plan(events=40, travellers=20), badges, tmp_path / "events.jsonl")


def test_the_outcome_after_each_phase_is_that_of_the_file_so_far(
    badges: Badges, tmp_path: Path, small: list[Record]
) -> None:
    phases = write_phases(SMALL, badges, tmp_path / "events.jsonl")
    assert [phase.number for phase in phases] == [1, 2, 3, 4]
    assert [record for phase in phases for record in phase.records] == small
    for phase in phases:
        assert phase.expected == expected_outcome(
            [record for record in small if record.phase <= phase.number], badges
        )

"""docs/mint-lifecycle.md says what the code does."""

import re
from pathlib import Path

from minter.comparison import FindingKind
from minter.reconcile_report import REPAIRS
from store.settling import TRANSITIONS
from store.values.minting import HoldReason, TaskStatus

DOCUMENT = (Path(__file__).parents[2] / "docs" / "mint-lifecycle.md").read_text(encoding="utf-8")


def test_the_diagram_draws_the_transitions_that_have_an_owner() -> None:
    drawn = set(re.findall(r"^  (\w+) --> (\w+):", DOCUMENT, re.MULTILINE))
    assert drawn == {(before.value, after.value) for before, after in TRANSITIONS}


def test_every_state_and_hold_is_explained() -> None:
    for word in (*TaskStatus, *HoldReason):
        assert f"`{word.value}`" in DOCUMENT


def test_the_findings_table_has_every_kind_and_says_which_are_repaired() -> None:
    rows = dict(
        re.findall(
            r"^\| ([a-z ]+) \| [^|]+ \| ([^|]+) \|$",
            DOCUMENT.partition("## Reconcile")[2],
            re.MULTILINE,
        )
    )
    rows.pop("finding")
    assert set(rows) == {kind.value for kind in FindingKind}
    # What could not be read is no matter of a repair: the next run looks again.
    assert rows.pop(FindingKind.UNREADABLE).startswith("looked at again by the next run")
    assert {kind for kind, repair in rows.items() if repair != "a person"} == {
        kind.value for kind in REPAIRS
    }

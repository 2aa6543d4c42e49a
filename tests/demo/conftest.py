"""A small crowd, generated once: most questions need no 50 000 events."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.events.options import Plan

if TYPE_CHECKING:
    from demo.oracle.catalog import Badges
    from demo.records import Record

CATALOG = Path(__file__).parents[2] / "catalog"
SMALL = Plan(seed=7, events=4_000, travellers=160)


@pytest.fixture(scope="session")
def badges() -> "Badges":
    from demo.oracle.catalog import read_badges

    return read_badges(CATALOG)


@pytest.fixture(scope="session")
def small(badges: "Badges") -> "list[Record]":
    from demo.events.generator import generate

    return generate(SMALL, badges)

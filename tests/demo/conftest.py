"""A small crowd, generated once: most questions need no 50 000 events."""

from pathlib import Path

import pytest

from demo.events.generator import generate
from demo.events.options import Plan
from demo.oracle.catalog import Badges, read_badges
from demo.records import Record

CATALOG = Path(__file__).parents[2] / "catalog"
SMALL = Plan(seed=7, events=4_000, travellers=160)


@pytest.fixture(scope="session")
def badges() -> Badges:
    return read_badges(CATALOG)


@pytest.fixture(scope="session")
def small(badges: Badges) -> list[Record]:
    return generate(SMALL, badges)

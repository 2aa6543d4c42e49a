"""A database with the shipped catalog in force."""

import pytest

from store.engine import Database
from tests.builders.messages import with_catalog


@pytest.fixture
async def counting(database: Database) -> Database:
    """A fresh database that may be counted into."""
    await with_catalog(database)
    return database

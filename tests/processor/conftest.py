"""A database with the shipped catalogue in force."""

import pytest

from store.engine import Database
from tests.processor.messages import with_catalogue


@pytest.fixture
async def counting(database: Database) -> Database:
    """A fresh database that may be counted into."""
    await with_catalogue(database)
    return database

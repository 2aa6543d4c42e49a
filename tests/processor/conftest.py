"""A database with the shipped catalog in force."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from store.engine import Database


@pytest.fixture
async def counting(database: "Database") -> "Database":
    """A fresh database that may be counted into."""
    from tests.builders.messages import with_catalog

    await with_catalog(database)
    return database

"""Everything that speaks SQL is tested at both ends of the supported versions.

PostgreSQL 15 and 18.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.postgres import PostgresServer
    from store.engine import Database
    from tests.store.desk import Desk


@pytest.fixture(scope="session")
def database_server(any_postgres: "PostgresServer") -> "PostgresServer":
    return any_postgres


@pytest.fixture
async def desk(database: "Database") -> "Desk":
    """A wallet and a collection, and the minter's steps without a chain."""
    from tests.store import desk

    return await desk.opened(database)


@pytest.fixture
def in_lock_order(database_url: str) -> Iterator[None]:
    """Fail the test if one of its transactions locked tables in another order than all others.

    The database is made first: the migrations of its template are no work of the test.
    """
    from tests.store.lock_order import contradictions, recorded

    del database_url
    with recorded() as transactions:
        yield
    assert contradictions(transactions) == []

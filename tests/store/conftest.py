"""Everything that speaks SQL is tested at both ends of the supported versions.

PostgreSQL 15 and 18.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.postgres import PostgresServer


@pytest.fixture(scope="session")
def database_server(any_postgres: "PostgresServer") -> "PostgresServer":
    return any_postgres


@pytest.fixture
def in_lock_order(database_url: str) -> Iterator[None]:
    """Fail the test if one of its transactions locked tables in another order than all others.

    It asks for the database so as to begin after it: migrations lock in an order of their own.
    """
    del database_url
    from tests.store.lock_order import contradictions, recorded

    with recorded() as transactions:
        yield
    assert contradictions(transactions) == []

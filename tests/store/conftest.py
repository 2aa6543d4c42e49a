"""Everything that speaks SQL is tested at both ends of the supported versions.

PostgreSQL 15 and 18.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.postgres import PostgresServer


@pytest.fixture(scope="session")
def database_server(any_postgres: "PostgresServer") -> "PostgresServer":
    return any_postgres

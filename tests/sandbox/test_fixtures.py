"""What the shared fixtures promise to every other test."""

import psycopg
import pytest

from sandbox.postgres import PostgresServer
from store.engine import Database


@pytest.fixture(scope="module")
def database_server(any_postgres: PostgresServer) -> PostgresServer:
    return any_postgres


@pytest.mark.parametrize("turn", [1, 2])
async def test_a_database_has_every_table_and_no_row_of_another_test(
    database: Database, database_url: str, turn: int
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE left_by_a_test AS SELECT 1")
        tables = {
            row[0] for row in connection.execute("SELECT relname FROM pg_class WHERE relkind = 'r'")
        }
    assert {"nft_instance", "nft_mint_queue", "offset_ledger"} <= tables
    await database.ping()


async def test_a_database_lies_on_the_server_that_was_asked_for(
    database_server: PostgresServer, database_url: str
) -> None:
    assert database_url.rpartition("/")[0] == database_server.url.rpartition("/")[0]

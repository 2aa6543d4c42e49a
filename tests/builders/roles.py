"""A role of PostgreSQL that may do nothing but what it is granted."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import make_url

from store import rights
from store.engine import Database
from store.rights import RightsMissing
from tests.builders.sql import rows


class Role:
    """A role without any right but to connect."""

    def __init__(self, owner: Database, url: str, name: str) -> None:
        self.owner, self.url, self.name = owner, url, name

    async def grant(self, what: str) -> None:
        await rows(self.owner, f'GRANT {what} TO "{self.name}"')

    async def lacks(self, *, temporary: bool = True) -> str:
        async with Database(self.url) as db, db.transaction() as conn:
            try:
                await rights.check(conn, temporary=temporary)
            except RightsMissing as error:
                return error.message.partition("tables: ")[2]
        return ""


@asynccontextmanager
async def a_role(database: Database, database_url: str) -> AsyncIterator[Role]:
    """Make a role for the block; others may not use schema and temporary tables of the database."""
    # A name that has to be quoted.
    name = f"Worker {uuid.uuid4().hex}"
    url = make_url(database_url)
    await rows(database, f'REVOKE TEMPORARY ON DATABASE "{url.database}" FROM PUBLIC')
    await rows(database, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    await rows(database, f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'p'")
    its = url.set(username=name, password="p")
    yield Role(database, its.render_as_string(hide_password=False), name)
    await rows(database, f'DROP OWNED BY "{name}"')
    await rows(database, f'DROP ROLE "{name}"')

"""Back the stack's database up and restore it, by PostgreSQL's own programs as the runbook says."""

from pathlib import Path

from demo.stack.processes import Stack

NAME = "laurel_restored"


async def dump(stack: Stack, path: Path) -> None:
    """Write a dump of the database to `path`; others work in it meanwhile.

    Raises:
        CommandFailed: pg_dump failed.
    """
    await stack.client("pg_dump", f"--dbname={stack.database_url}", "--format=custom", f"-f{path}")


async def restore(stack: Stack, path: Path) -> None:
    """Restore a dump into a new database, and let commands and services use that from now on.

    Raises:
        CommandFailed: one of the programs failed.
    """
    url = stack.postgres.url_of(NAME)
    await stack.client("createdb", f"--maintenance-db={stack.postgres.url}", NAME)
    await stack.client("pg_restore", f"--dbname={url}", "--no-owner", str(path))
    stack.use(url)

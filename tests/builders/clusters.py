"""PostgreSQL 15 as an operator has it: followed by a standby, promoted, copied, recovered.

Everything is done by PostgreSQL's own programs; Laurel notices by itself, or does not.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from sqlalchemy import make_url

from sandbox.postgres import PostgresServer, postgres
from sandbox.process import START_BOUND, running, unprivileged_account
from tests.builders.patience import PATIENCE_S
from tests.fixtures.parts import missing
from tests.fixtures.postgres import DEBIAN_15


@dataclass
class Clusters:
    """Servers of one test, each in a directory of its own that its account may enter."""

    place: Path
    stack: ExitStack

    def start(self, name: str, port: int | None = None) -> PostgresServer:
        """Start the cluster `name`, made by initdb where there is none; it takes replication."""
        directory = self.place / name
        directory.mkdir(mode=0o711, exist_ok=True)
        server = self.stack.enter_context(
            postgres(directory, keep=True, port=port, binaries=DEBIAN_15)
        )
        with (directory / "pg_hba.conf").open("a") as rules:
            rules.write("host replication all 0.0.0.0/0 scram-sha-256\n")
        tell(server, "SELECT pg_reload_conf()")
        return server

    def copy(self, server: PostgresServer, name: str, *options: str) -> None:
        """Make `name` of a running server by pg_basebackup."""
        directory, account = self.place / name, unprivileged_account()
        directory.mkdir(mode=0o711)
        shutil.copy2(server.directory / "password", directory / "password")
        for path in (directory, directory / "password"):
            if account is not None:
                os.chown(path, account.uid, account.gid)
        with running(
            "pg_basebackup",
            [
                *(DEBIAN_15 / "pg_basebackup", f"--dbname={server.url}"),
                *(f"--pgdata={directory / 'data'}", "--checkpoint=fast", *options),
            ],
            log_path=self.place / f"{name}.log",
            cwd=self.place,
            account=account,
        ) as child:
            assert child.wait(START_BOUND) == 0, child.log_tail()

    def copy_files(self, name: str, other: str) -> None:
        """Copy the files of a stopped cluster over those of another, which is stopped or none."""
        shutil.rmtree(self.place / other, ignore_errors=True)
        shutil.copytree(self.place / name, self.place / other, symlinks=True)
        account = unprivileged_account()
        if account is not None:
            for path in [self.place / other / "data", *(self.place / other / "data").rglob("*")]:
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
            os.chown(self.place / other / "password", account.uid, account.gid)


@contextmanager
def clusters() -> Iterator[Clusters]:
    """Yield a place for servers of Debian's PostgreSQL 15; it and they are gone afterwards."""
    if not (DEBIAN_15 / "pg_basebackup").is_file():
        missing(f"PostgreSQL 15 is not installed in {DEBIAN_15}")
    place = Path(tempfile.mkdtemp(prefix="laurel-clusters-"))
    place.chmod(0o711)
    account = unprivileged_account()
    if account is not None:
        os.chown(place, account.uid, account.gid)
    try:
        with ExitStack() as stack:
            yield Clusters(place, stack)
    finally:
        shutil.rmtree(place)


def tell(
    server: PostgresServer, statement: LiteralString, *values: object
) -> list[tuple[Any, ...]]:
    """Run one statement on a server, outside of any transaction; return its rows."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        found = connection.execute(statement, values or None)
        return found.fetchall() if found.description else []


def together(*servers: PostgresServer) -> str:
    """Return the URL that names all of them: whichever can be written to is taken."""
    first = make_url(servers[0].url)
    hosts = ",".join(f"{url.host}:{url.port}" for url in (make_url(each.url) for each in servers))
    return f"postgresql://{first.username}:{first.password}@{hosts}/postgres"


async def until(done: Callable[[], bool], what: str) -> None:
    """Wait for something that is no database's to tell.

    Raises:
        AssertionError: it did not come.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not await asyncio.to_thread(done):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {PATIENCE_S} s: {what}")
        await asyncio.sleep(0.05)


async def caught_up(standby: PostgresServer, primary: PostgresServer) -> None:
    """Wait until a standby shows all that its primary has written by now."""
    ((position,),) = tell(primary, "SELECT pg_current_wal_lsn()::text")
    statement = "SELECT coalesce(pg_last_wal_replay_lsn() >= CAST(%s AS pg_lsn), false)"
    await until(lambda: tell(standby, statement, position) == [(True,)], "the standby catches up")


async def cut_off(standby: PostgresServer) -> None:
    """Let a standby get nothing more: what its primary commits from now on is lost with it."""
    tell(standby, "ALTER SYSTEM SET primary_conninfo = ''")
    tell(standby, "SELECT pg_reload_conf()")
    statement = "SELECT count(*) FROM pg_stat_wal_receiver"
    await until(lambda: tell(standby, statement) == [(0,)], "the standby gets nothing more")


async def crash(server: PostgresServer) -> None:
    """End a server at once, as a power failure would."""
    os.kill(server.pid, signal.SIGQUIT)
    await until(lambda: not _lives(server.pid), "the server ends")


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"

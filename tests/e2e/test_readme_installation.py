"""README's "Running it for real", done to the letter on real parts: its own blocks, in its order.

What is put in place of README's examples: the servers' addresses, the passwords, the folder of the
files, a free port. The installation itself is followed by tests/test_install.py. The network is the
local one, under a config that nobody would take for local.
"""

import asyncio
import json
import os
import re
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg
from ton_core.boc.address import Address

from sandbox import ports
from sandbox.broker import Broker
from sandbox.postgres import PostgresServer
from sandbox.ton.network import TonNetwork
from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SECTION = README.split("## Running it for real", 1)[1].split("\n## ", 1)[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
PSQL = """#!{python}
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    connection.execute(sys.stdin.read())
"""
LAUREL = """#!/bin/sh
exec {python} {root}/cli.py "$@"
"""
OURS = ("LAUREL_", "PATH", "PYTHONPATH")


@dataclass
class Shell:
    """An operator's shell: what one block exports, the next one has."""

    tools: Path
    replaced: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)

    def as_here(self, block: str) -> str:
        for example, real in self.replaced.items():
            block = block.replace(example, real)
        return block

    async def run(self, block: str) -> str:
        """Run a block; return what it printed."""
        script = f"set -euo pipefail\n{self.as_here(block)}\nenv -0 > {self.tools}/environment"
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            script,
            cwd=self.tools,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, f"{block}\n{out.decode()}\n{err.decode()}"
        pairs = (self.tools / "environment").read_text().rstrip("\0").split("\0")
        found = dict(pair.split("=", 1) for pair in pairs)
        self.environment = {k: v for k, v in found.items() if k.startswith(OURS)}
        return out.decode()

    @asynccontextmanager
    async def running(self, line: str) -> AsyncIterator[None]:
        """Run a line that does not end until it is asked to; it must end in order."""
        name, arguments = line.split()
        log = (self.tools / f"{arguments}.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            self.tools / name, arguments, cwd=self.tools, env=self.environment, stderr=log
        )
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0, (self.tools / f"{arguments}.log").read_text()
        finally:
            log.close()
            if process.returncode is None:
                process.kill()
                await process.wait()


@contextmanager
def a_server_of_ones_own(server: PostgresServer) -> Iterator[None]:
    """Give the roles and the database back that README makes."""
    try:
        yield
    finally:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS badges WITH (FORCE)")
            connection.execute("DROP ROLE IF EXISTS badges")
            connection.execute("DROP ROLE IF EXISTS badges_owner")


def block_with(word: str) -> str:
    (found,) = (block for _, block in BLOCKS if word in block)
    return str(found)


def in_place_of_examples(
    server: PostgresServer, broker: Broker, directory: Path, port: int
) -> dict[str, str]:
    at = psycopg.conninfo.conninfo_to_dict(server.url)
    return {
        "LOGIN PASSWORD '...'": "LOGIN PASSWORD 'secret'",
        ":...@db:5432/badges": f":secret@{at['host']}:{at['port']}/badges",
        "kafka-1:9092,kafka-2:9092": broker.address,
        "/etc/laurel/": f"{directory}/",
        # README's example itself is refused, for it would stay on chain.
        "badges.your-domain": "badges.mine",
        "LAUREL_HTTP__HOST=0.0.0.0": "LAUREL_HTTP__HOST=127.0.0.1",
        "9464": str(port),
    }


async def until_ready(port: int) -> None:
    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready") as answer:
                return bool(answer.status == 200)
        except OSError:  # not there yet, or 503
            return False

    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await asyncio.to_thread(is_ready):
                return
            await asyncio.sleep(0.1)


async def test_an_operator_who_follows_readme_to_the_letter_gets_a_token_minted(
    any_broker: Broker,
    postgres_server: PostgresServer,
    ton: TonNetwork,
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    for name, text in (("psql", PSQL), ("laurel", LAUREL)):
        (tmp_path / name).write_text(text.format(python=sys.executable, root=ROOT))
        (tmp_path / name).chmod(0o755)
    config = {key: value for key, value in ton.config.items() if key != "laurel_local_network"}
    (tmp_path / "global.config.json").write_text(json.dumps(config))
    with (
        ports.reserved() as port,
        ports.reserved() as another,
        a_server_of_ones_own(postgres_server),
    ):
        shell = Shell(tmp_path, in_place_of_examples(postgres_server, any_broker, tmp_path, port))
        shell.environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            # One broker for many tests: README's own is for Laurel alone.
            "LAUREL_KAFKA__TOPIC_PREFIX": topic_prefix,
            "LAUREL_KAFKA__CONSUMER_GROUP": topic_prefix,
        }
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            for statement in shell.as_here(block_with("CREATE ROLE")).strip().split("\n"):
                connection.execute(statement.encode())
        await shell.run(block_with("laurel db upgrade"))
        await shell.run(block_with("LAUREL_KAFKA_BROKERS"))

        shown = await shell.run(block_with("laurel wallet new"))
        pay_to, needed = re.findall(r"^pay to +(\S+)$|send it ([\d.]+) Grams", shown, re.MULTILINE)
        await ton.fund(
            Address(pay_to[0]).to_str(is_user_friendly=False), round(float(needed[1]) * 10**9)
        )
        # Nobody serves the documents of badges.mine: a warning, as there is no token yet.
        looked_at = block_with("laurel doctor").replace("doctor ", "doctor || test $? = 1 ")
        examined = await shell.run(looked_at)
        checks = examined[examined.index("ok    settings") :].splitlines()
        assert len(checks) > 20
        warned = [line for line in checks if line.split()[0] != "ok"]
        assert {tuple(line.split()[:2]) for line in warned} == {("warn", "metadata")}, examined

        lines = [line.split("#")[0].strip() for line in block_with("laurel minter").splitlines()]
        assert [line.split()[:2] for line in lines] == [
            ["laurel", "worker"],
            ["laurel", "minter"],
            ["curl", "-f"],
            ["laurel", "reconcile"],
        ]
        user, wallet = str(uuid4()), f"0:{uuid4().hex}{uuid4().hex}"
        async with shell.running(lines[0]):
            await until_ready(port)
            # "Two processes on one host need two ports."
            shell.environment["LAUREL_HTTP__PORT"] = str(another)
            async with shell.running(lines[1]):
                await until_ready(another)
                await shell.run(f"laurel send wallet.linked address={wallet} --user {user}")
                await shell.run(f"laurel badge award {user} explorer --level 2")
                await _minted(shell, user)
                assert "1 tokens" in await shell.run(lines[3])


async def _minted(shell: Shell, user: str) -> None:
    url = shell.environment["LAUREL_DATABASE_URL"]
    minted = "SELECT onchain_status FROM nft_instance WHERE user_id = %s"
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with await psycopg.AsyncConnection.connect(url) as connection:
                rows = await (await connection.execute(minted, [user])).fetchall()
            if rows == [("minted",)]:
                return
            await asyncio.sleep(0.2)

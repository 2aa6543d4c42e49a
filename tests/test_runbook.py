"""docs/runbook.md, "Restoring a backup", followed to the letter."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, make_url

from ops.setting_parts import MinterSettings
from ops.settings import Settings
from sandbox.postgres import PostgresServer
from sandbox.ton.network import TonNetwork
from store import migrations
from store.engine import Database
from tests.builders.minters import funded, minter_on, new_wallet
from tests.builders.restoring import replay, wheel
from tests.builders.world import World, all_in, eventually, items_of, minting

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "docs" / "runbook.md").read_text().partition("## Restoring a backup")[2]
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
BACKUP, RESTORE, REPAIR = BLOCK.findall(SECTION)
(GRANTS,) = re.findall(
    r"<<'SQL'\n(GRANT .*?)^SQL$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)


async def shell(script: str, **environment: str) -> tuple[int, str]:
    """Run what the page says to type; return exit code and output."""
    programs = f"{wheel()}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    script = script.replace("laurel reconcile", f"{sys.executable} {ROOT / 'cli.py'} reconcile")
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-euc",
        script,
        cwd=environment.pop("cwd"),
        env={**os.environ, "PATH": programs, "LC_ALL": "C", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


@dataclass(frozen=True, slots=True)
class Roles:
    """A database as the README sets it up, its owner's URL, and the one that Laurel works with."""

    server: PostgresServer
    owner: str
    laurel: str

    def of(self, database: str) -> "Roles":
        """Return the same roles in another database."""
        owner, laurel = (make_url(url).set(database=database) for url in (self.owner, self.laurel))
        return Roles(self.server, _clear(owner), _clear(laurel))


def _clear(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@pytest.fixture
async def roles(postgres_server: PostgresServer) -> AsyncIterator[Roles]:
    """What README, Running it for real, says about the database."""
    url = make_url(postgres_server.url)
    there = Roles(
        postgres_server,
        _clear(url.set(username="badges_owner", password="o", database="badges")),
        _clear(url.set(username="badges", password="b", database="badges")),
    )
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE badges_owner LOGIN PASSWORD 'o'")
        connection.execute("CREATE ROLE badges LOGIN PASSWORD 'b'")
        connection.execute(
            "CREATE DATABASE badges OWNER badges_owner ENCODING 'UTF8' TEMPLATE template0"
        )
        try:
            await migrations.upgrade(there.owner)
            with psycopg.connect(there.owner, autocommit=True) as owner:
                for line in GRANTS.splitlines():
                    owner.execute(line.encode())
            yield there
        finally:
            connection.execute("DROP DATABASE badges WITH (FORCE)")
            connection.execute("DROP DATABASE IF EXISTS badges_restored WITH (FORCE)")
            connection.execute("DROP ROLE badges")
            connection.execute("DROP ROLE badges_owner")


@pytest.fixture
async def settings(
    ton: TonNetwork, roles: Roles, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    hurry = MinterSettings(poll_interval=timedelta(milliseconds=50))
    return await funded(minter_on(ton, roles.laurel, new_wallet(tmp_path_factory), hurry), ton)


async def test_a_backup_is_restored_as_the_runbook_says(
    ton: TonNetwork, roles: Roles, settings: Settings, tmp_path: Path
) -> None:
    """Twenty tokens, ten of them since the backup: each badge has the one that it had."""
    environment = {
        "SERVER_URL": roles.server.url,
        "OWNER_URL": roles.owner,
        "LAUREL_DATABASE_URL": roles.laurel,
        "LAUREL_TON_CONFIG": settings.need("ton_config"),
    }
    async with Database(roles.owner) as opened, minting(settings) as ctx:
        world = World(opened)
        old = await world.to_mint(10)
        await all_in(world, old, "active/minted")
        code, said = await shell(BACKUP, **environment, cwd=str(tmp_path))
        assert code == 0, said
        new = await world.to_mint(10)
        await all_in(world, new, "active/minted")
        before = await items_of(ctx)
    # 1: nobody works any more. 2:
    roles = roles.of("badges_restored")
    environment |= {"OWNER_URL": roles.owner, "LAUREL_DATABASE_URL": roles.laurel}
    code, said = await shell(RESTORE, **environment, cwd=str(tmp_path))
    assert code == 0, said
    async with Database(roles.owner) as opened:
        # 4: the workers count the events again.
        restored = World(opened)
        await restored.link(new)
        await replay(restored, new)
        # 5:
        code, said = await shell(REPAIR, **environment, cwd=str(tmp_path))
        assert code == 1, said
        assert "-> adopted 10" in said
        assert "minting is shut: the wallet has sent" in said
        # 6:
        words = Path(settings.need("wallet_mnemonic_file"))
        again = minter_on(ton, roles.laurel, words, settings.minter)
        async with minting(again) as ctx:
            ton.advance(settings.minter.message_ttl + 2 * settings.minter.expiry_margin)

            async def is_open() -> bool:
                return not await restored.sql(
                    "SELECT 1 FROM chain_wallet WHERE shut_until > '-infinity'"
                )

            await eventually(restored, is_open, "minting is open")
            assert await items_of(ctx) == before
            late = await restored.to_mint(1)
            await all_in(restored, [*old, *new, *late], "active/minted")
            assert len(await items_of(ctx)) == len(before) + 1
        # 7:
        code, said = await shell("laurel reconcile", **environment, cwd=str(tmp_path))
        assert code == 0, said

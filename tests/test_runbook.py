"""docs/runbook.md, "Restoring a backup", followed to the letter."""

import asyncio
import os
import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ops.setting_parts import MinterSettings
from ops.settings import Settings
from sandbox.postgres import PostgresServer
from sandbox.ton.network import TonNetwork
from store.engine import Database
from tests.builders.minters import funded, minter_on, new_wallet
from tests.builders.restoring import dump, replay, wheel
from tests.builders.world import World, all_in, eventually, items_of, minting

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "docs" / "runbook.md").read_text().partition("## Restoring a backup")[2]
RESTORE, REPAIR = re.findall(r"^ *```sh\n(.*?)^ *```$", SECTION, re.DOTALL | re.MULTILINE)


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


@pytest.fixture
async def settings(
    ton: TonNetwork, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    hurry = MinterSettings(poll_interval=timedelta(milliseconds=50))
    return await funded(minter_on(ton, database_url, new_wallet(tmp_path_factory), hurry), ton)


async def test_a_backup_is_restored_as_the_runbook_says(
    ton: TonNetwork,
    database: Database,
    postgres_server: PostgresServer,
    settings: Settings,
    tmp_path: Path,
) -> None:
    """Twenty tokens, ten of them since the backup: each badge has the one that it had."""
    world = World(database)
    old = await world.to_mint(10)
    async with minting(settings) as ctx:
        await all_in(world, old, "active/minted")
        await dump(settings.need("database_url"), tmp_path / "backup")
        new = await world.to_mint(10)
        await all_in(world, new, "active/minted")
        before = await items_of(ctx)
    # 1: nobody works any more. 2:
    url = postgres_server.url_of("laurel_restored")
    environment = {
        "SERVER_URL": postgres_server.url,
        "LAUREL_DATABASE_URL": url,
        "LAUREL_TON_CONFIG": settings.need("ton_config"),
        "cwd": str(tmp_path),
    }
    code, said = await shell(RESTORE, **environment)
    assert code == 0, said
    async with Database(url) as opened:
        # 4: the workers count the events again.
        restored = World(opened)
        await restored.link(new)
        await replay(restored, new)
        # 5:
        code, said = await shell(REPAIR, **environment)
        assert code == 1, said
        assert "-> adopted 10" in said
        assert "minting is shut: the wallet has sent" in said
        # 6:
        again = minter_on(ton, url, Path(settings.need("wallet_mnemonic_file")), settings.minter)
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
        code, said = await shell("laurel reconcile", **environment)
        assert code == 0, said
    code, said = await shell('dropdb --maintenance-db="$SERVER_URL" laurel_restored', **environment)
    assert code == 0, said

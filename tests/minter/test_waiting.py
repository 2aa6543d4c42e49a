"""A minter without its TON network.

It says what it waits for and where, is not ready, and ends when asked.
"""

import asyncio
import copy
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ops.settings import Settings
from sandbox import ports
from sandbox.ton.network import TonNetwork
from tests.builders.patience import PATIENCE_S
from tests.minter.test_commands import ROOT, environment_of


def asked(url: str) -> tuple[int, dict[str, Any]]:
    """What /ready answers; (0, {}) while nobody listens."""
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=PATIENCE_S) as answer:
            return answer.status, dict(json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(json.load(error))
    except OSError:
        return 0, {}


async def test_a_minter_without_a_lite_server_says_which_and_where(
    ton: TonNetwork, settings: Settings, tmp_path: Path
) -> None:
    with ports.reserved() as dead, ports.reserved() as own:
        config = copy.deepcopy(ton.config)
        config["liteservers"][0]["port"] = dead
        path = tmp_path / "dead.json"
        path.write_text(json.dumps(config))
        environment = environment_of(settings) | {
            "LAUREL_TON_CONFIG": str(path),
            "LAUREL_HTTP__PORT": str(own),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "cli.py"),
            "minter",
            cwd=ROOT,
            env={**os.environ, **environment},
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            status, word = 0, ""
            async with asyncio.timeout(PATIENCE_S):
                while not word:
                    status, answer = await asyncio.to_thread(asked, f"http://127.0.0.1:{own}")
                    word = answer.get("waits", {}).get("ton", "")
                    await asyncio.sleep(0.1)
            assert status == 503
            assert f"127.0.0.1:{dead}" in word
            process.terminate()
            assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

"""`laurel` as a process of its own, as a shell would start it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


def laurel(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


async def laurel_beside(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end while the test's event loop goes on."""
    return await asyncio.to_thread(laurel, *arguments, **environment)

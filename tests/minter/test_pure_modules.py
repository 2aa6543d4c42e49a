"""What decides about mints is tried without TON's libraries: importing it loads none of them."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "module",
    [
        "minter.mint_decision",
        "minter.indexes",
        "minter.comparison",
        "minter.budget",
        "minter.ton.values",
        "minter.ton.metadata_uris",
    ],
)
def test_importing_it_loads_no_library_of_ton(module: str) -> None:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert module.partition(".")[0] in loaded
    assert loaded.isdisjoint({"ton_core", "pytonlib", "tonutils", "sqlalchemy", "asyncio"})

"""The import rules hold, and a violation is seen."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent
PACKAGES = ("processor", "minter", "store", "ops", "sandbox", "demo")


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    # importlinter reads pyproject.toml and the packages from the working directory, which comes
    # first on the path here.
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, "--no-cache"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_import_rules_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("store/ledger_planted.py", "import processor.rules.conditions"),
        ("processor/planted.py", "import minter.mint_decision"),
        ("processor/planted.py", "import sqlalchemy"),
        ("processor/rules/levels.py", "import time"),
        ("processor/rules/levels.py", "import pathlib"),
        ("processor/rules/levels.py", "import secrets"),
        ("processor/rules/levels.py", "import store.counting"),
        ("processor/rules/conditions.py", "from store.engine import Database"),
        # Pure, through one that is not.
        ("processor/batch/command_rules.py", "import processor.batch.staging"),
        ("store/values/stream.py", "import store.ledger"),
        ("minter/mint_decision.py", "import asyncio"),
        ("minter/planted.py", "import sandbox.ports"),
        ("minter/ton/tokens.py", "import minter.context"),
        ("minter/ton/values.py", "import ton_core"),
        ("sandbox/planted.py", "import store.values"),
        ("demo/planted.py", "import cli"),
        ("demo/oracle/expected.py", "import demo.events.generator"),
        ("ops/planted.py", "import store.values"),
    ],
)
def test_a_planted_violation_is_seen(place: str, line: str, tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("cli.py", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path / file)
    planted = tmp_path / place
    planted.write_text(
        (planted.read_text() if planted.exists() else '"""Planted."""\n') + f"\n{line}\n"
    )
    done = lint_imports(tmp_path)
    assert done.returncode != 0, done.stdout
    importer = place.removesuffix(".py").replace("/", ".")
    assert f"{importer} -> {line.split()[1]} (l." in done.stdout, done.stdout

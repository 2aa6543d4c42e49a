"""What is pure keeps clock, chance, SQL and I/O out: in its source, and in what it loads."""

import re
import subprocess
import sys

import pytest

from tests.pure_modules import (
    MAY_IMPORT,
    NEEDS_TON_CORE,
    ROOT,
    contract,
    impurities,
    pure_modules,
)

PACKAGES = ("processor", "minter", "store", "ops", "sandbox", "demo")
# What a library under a pure module could drag in. Not here is what jsonschema loads for uses of
# its own: pathlib, random, tempfile, threading; the sources above it may not import them.
HEAVY = frozenset(
    {
        "sqlalchemy",
        "psycopg",
        "alembic",
        "faust",
        "aiokafka",
        "aiohttp",
        "asyncio",
        "prometheus_client",
        "structlog",
        "pydantic",
        "tenacity",
        "pytonlib",
        "tonutils",
        "ton_core",
        "socket",
        "ssl",
        "http.client",
        "urllib.request",
        "subprocess",
        "secrets",
        "logging",
    }
)
# Loaded by ton_core (tests/pure_modules.py says why it may be): nothing of SQL, Kafka or asyncio.
BY_TON_CORE = frozenset(
    {
        "ton_core",
        "socket",
        "ssl",
        "http.client",
        "urllib.request",
        "subprocess",
        "secrets",
        "logging",
    }
)


@pytest.mark.integration
@pytest.mark.parametrize("module", sorted(pure_modules()))
def test_importing_it_loads_nothing_that_acts(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert module in loaded
    allowed = BY_TON_CORE if module == NEEDS_TON_CORE else frozenset()
    assert sorted(loaded & HEAVY - allowed) == []
    ours = {name for name in loaded if name.partition(".")[0] in PACKAGES}
    above = {name[: dot.start()] for name in pure_modules() for dot in re.finditer(r"\.", name)}
    assert sorted(ours - set(pure_modules()) - above) == [], "ours, and not pure"


@pytest.mark.parametrize("module", sorted(pure_modules()))
def test_its_source_holds_nothing_that_acts(module: str) -> None:
    assert impurities(module, pure_modules()[module].read_text()) == []


@pytest.mark.parametrize(
    ("module", "source", "seen"),
    [
        ("processor.rules.levels", "import store.counting", "1: import store.counting"),
        (
            "processor.rules.conditions",
            "from store.engine import Database",
            "1: from store.engine import Database",
        ),
        ("processor.rules.levels", "from store import engine", "1: from store import engine"),
        ("processor.rules.levels", "import pathlib", "1: import pathlib"),
        ("processor.rules.levels", "import secrets", "1: import secrets"),
        ("processor.rules.levels", "import subprocess", "1: import subprocess"),
        ("processor.rules.levels", "import socket", "1: import socket"),
        ("processor.rules.levels", "import threading", "1: import threading"),
        ("processor.rules.levels", "import sys", "1: import sys"),
        ("processor.rules.levels", "import zoneinfo", "1: import zoneinfo"),
        ("processor.rules.levels", "import urllib.request", "1: import urllib.request"),
        (
            "processor.rules.levels",
            "from urllib import request",
            "1: from urllib import request",
        ),
        ("processor.rules.levels", "from . import staging", "1: from . import staging"),
        ("processor.rules.levels", "def f():\n    import time", "2: import time"),
        ("processor.rules.levels", "from uuid import UUID, uuid4", "1: from uuid import uuid4"),
        ("processor.rules.levels", "from uuid import uuid1 as u", "1: from uuid import uuid1"),
        ("processor.rules.levels", "from uuid import *", "1: from uuid import *"),
        ("processor.rules.levels", "import uuid\nuuid.uuid4()", "2: .uuid4"),
        ("processor.rules.levels", "datetime.now(UTC)", "1: .now"),
        ("processor.rules.levels", "clock = datetime.utcnow", "1: .utcnow"),
        ("processor.rules.levels", "date.today()", "1: .today"),
        ("processor.rules.levels", "open('catalog.yaml')", "1: open"),
        ("processor.rules.levels", "path.open()", "1: .open"),
        ("processor.rules.levels", "print('here')", "1: print"),
        ("processor.rules.levels", "input()", "1: input"),
        ("processor.rules.levels", "__import__('os')", "1: __import__"),
        ("minter.mint_decision", "import ton_core", "1: import ton_core"),
        ("minter.ton.tokens", "import pytonlib", "1: import pytonlib"),
    ],
)
def test_a_planted_impurity_is_seen(module: str, source: str, seen: str) -> None:
    assert impurities(module, source) == [seen]


def test_a_moment_may_be_a_parameter() -> None:
    source = "from uuid import UUID\n\ndef late(now: int, at: int) -> bool:\n    return now > at\n"
    assert impurities("processor.rules.levels", source) == []


def test_the_contract_knows_every_module_of_the_store() -> None:
    """Each is pure, or forbidden to what is pure."""
    store = ROOT / "store"
    modules = {path.stem for path in store.glob("*.py") if path.name != "__init__.py"}
    packages = {path.parent.name for path in store.glob("*/__init__.py")}
    forbidden = {name for name in contract()["forbidden_modules"] if name.startswith("store.")}
    pure = {name for name in contract()["source_modules"] if name.startswith("store.")}
    assert forbidden.isdisjoint(pure)
    assert sorted(forbidden | pure) == sorted(f"store.{name}" for name in modules | packages)


def test_the_contract_stands_against_indirect_imports_too() -> None:
    assert not contract().get("allow_indirect_imports", False)
    assert not contract().get("ignore_imports")


def test_the_page_says_what_pure_modules_may_import() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    (said,) = re.findall(r"^  Beside each other they may import (.*)$", page, re.MULTILINE)
    assert sorted(re.findall(r"`([^`]+)`", said)) == sorted(MAY_IMPORT)

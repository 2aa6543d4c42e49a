"""Which modules are pure, and what their source may hold.

The contract "Pure modules" of pyproject.toml lists them. import-linter looks at modules that are
imported, so here is what it cannot see: a list of everything that may be imported, names like
uuid4, and calls like datetime.now.
"""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

# What a pure module may import beside other pure modules; docs/architecture.md says the same.
MAY_IMPORT = frozenset(
    {
        "base64",
        "binascii",
        "collections",
        "collections.abc",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "functools",
        "hashlib",
        "itertools",
        "jsonschema",
        "jsonschema.exceptions",
        "msgspec",
        "operator",
        "re",
        "typing",
        "urllib.parse",
        "uuid",
    }
)
# minter.ton.tokens is about cells, and ton_core has the cells and the reference contracts' code. It
# computes; that it loads sockets and randomness for other uses is why the modules that decide about
# mints may not import it.
NEEDS_TON_CORE = "minter.ton.tokens"

# Clock and chance by attribute: `now` alone may be a parameter.
_ATTRIBUTES = frozenset({"now", "utcnow", "today", "uuid1", "uuid4", "open"})
# Chance, files, terminal, and code that nobody could look through, by name.
_NAMES = frozenset(
    {"uuid1", "uuid4", "open", "print", "input", "breakpoint", "eval", "exec", "__import__"}
)


@cache
def contract() -> dict[str, Any]:
    """Return the contract of pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    (pure,) = [each for each in contracts if each["name"].startswith("Pure modules")]
    return pure


@cache
def pure_modules() -> dict[str, Path]:
    """Return every module under the contract by name; of a package, each of its modules."""
    found: dict[str, Path] = {}
    for name in contract()["source_modules"]:
        place = ROOT / name.replace(".", "/")
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        for file in files:
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


def impurities(module: str, source: str) -> list[str]:
    """Return what a pure module may not hold, each as `line: what`."""
    tree = ast.parse(source)
    return [f"{line}: {what}" for line, what in sorted({*_imports(module, tree), *_uses(tree)})]


def _imports(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                if not _may_import(module, each.name):
                    yield node.lineno, f"import {each.name}"
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            for each in node.names:
                is_known = _may_import(module, origin) or f"{origin}.{each.name}" in pure_modules()
                if not is_known or each.name in _NAMES | {"*"}:
                    yield node.lineno, f"from {origin} import {each.name}"


def _may_import(module: str, imported: str) -> bool:
    if module == NEEDS_TON_CORE and imported.partition(".")[0] == "ton_core":
        return True
    return imported in MAY_IMPORT or imported in pure_modules()


def _uses(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _ATTRIBUTES:
            yield node.lineno, f".{node.attr}"
        elif isinstance(node, ast.Name) and node.id in _NAMES:
            yield node.lineno, node.id

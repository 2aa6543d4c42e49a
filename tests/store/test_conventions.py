"""How every module of store/ is written: statements have names, records leave, rows stay."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from sqlalchemy import CursorResult, Result, Row, RowMapping

import store

MODULES = sorted(
    found.name
    for found in pkgutil.iter_modules(store.__path__, "store.")
    if found.name != "store.models"  # its texts are DDL, and it has no functions that are called
)


def public_functions(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the functions that `module` defines, and its public classes' methods, by name."""
    owners = [module] + [
        found
        for name, found in vars(module).items()
        if inspect.isclass(found) and found.__module__ == module.__name__ and name[0] != "_"
    ]
    for owner in owners:
        for name, found in vars(owner).items():
            called = inspect.unwrap(found) if callable(found) and name[0] != "_" else None
            if inspect.isfunction(called) and called.__module__ == module.__name__:
                yield f"{owner.__name__}.{name}", called


def parts(annotation: object) -> Iterator[object]:
    """Yield a type and all that it is made of: dict[UUID, Row[Any]] is dict, UUID, Row and Any."""
    yield get_origin(annotation) or annotation
    for argument in get_args(annotation):
        # The arguments of a Callable are a list in the middle of its own.
        for inner in argument if isinstance(argument, list) else [argument]:
            yield from parts(inner)


def texts(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (the function it stands in or "", SQL) for each `text("...")`."""

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                function = name
            case ast.Call(func=ast.Name(id="text"), args=[ast.Constant(value=str(statement))]):
                yield function, statement
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function)

    return walk(tree, "")


def texts_of(name: str) -> list[tuple[str, str]]:
    source = Path(str(importlib.import_module(name).__file__)).read_text(encoding="utf-8")
    return list(texts(ast.parse(source)))


def unbounded(statement: str) -> list[str]:
    """Return the tables that `statement` updates or deletes from without a WHERE."""
    found = []
    for write in re.finditer(r"\bUPDATE\s+(\w+)[^()]*?\sSET\b|\bDELETE\s+FROM\s+(\w+)", statement):
        depth, rest = 0, statement[write.end() :]
        for place, character in enumerate(rest):  # to the end of its own CTE or of the text
            depth += {"(": 1, ")": -1}.get(character, 0)
            if depth < 0:
                rest = rest[:place]
                break
        if not re.search(r"\bWHERE\b", re.sub(r"\([^()]*\)", "", rest)):
            found.append(write[1] or write[2])
    return found


@pytest.mark.parametrize("name", MODULES)
def test_records_leave_the_store_and_rows_do_not(name: str) -> None:
    loose: list[object] = [Row, RowMapping, Result, CursorResult, Any]
    found = [
        f"{function}: {where}"
        for function, called in public_functions(importlib.import_module(name))
        for where, annotation in get_type_hints(called).items()
        if any(part in loose for part in parts(annotation))
    ]
    assert found == []


@pytest.mark.parametrize("name", MODULES)
def test_a_statement_is_a_text_with_a_name(name: str) -> None:
    assert [function for function, _ in texts_of(name) if function] == []


@pytest.mark.parametrize("name", MODULES)
def test_a_statement_says_which_rows_it_changes(name: str) -> None:
    assert [table for _, statement in texts_of(name) for table in unbounded(statement)] == []


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE a SET x = 1 RETURNING x", ["a"]),
        ("UPDATE a AS b SET x = (SELECT 1 FROM c WHERE d)", ["a"]),
        ("UPDATE a SET x = 1 WHERE id = :id", []),
        ("WITH b AS (UPDATE a SET x = 1), c AS (SELECT WHERE true) SELECT FROM c WHERE x", ["a"]),
        ("DELETE FROM a USING b", ["a"]),
        ("INSERT INTO a VALUES (1) ON CONFLICT (x) DO UPDATE SET x = 2", []),
        ("SELECT 1 FROM a FOR UPDATE OF a", []),
    ],
)  # fmt: skip
def test_a_statement_without_where_is_found(statement: str, expected: list[str]) -> None:
    assert unbounded(statement) == expected


def test_a_row_is_found_inside_another_type() -> None:
    assert Row in parts(dict[str, list[Row[tuple[int]]]])


def test_there_is_something_to_look_at() -> None:
    functions = sum(len(list(public_functions(importlib.import_module(name)))) for name in MODULES)
    statements = sum(len(texts_of(name)) for name in MODULES)
    assert functions > 50
    assert statements > 80

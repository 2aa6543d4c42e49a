"""What CONTRIBUTING.md and the runbook tell people to type can be typed."""

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from store.engine import Database

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "CONTRIBUTING.md", ROOT / "docs" / "runbook.md")


def statements() -> list[str]:
    """Return the SQL of the pages: each line of a block, and what is quoted within a line."""
    pages = "\n".join(page.read_text() for page in PAGES)
    blocks = re.findall(r"^```sql\n(.*?)^```$", pages, re.DOTALL | re.MULTILINE)
    lines = [line.rstrip(";") for block in blocks for line in block.splitlines() if line]
    return [*lines, *re.findall(r"`(SELECT [^`]+)`", pages)]


def test_both_pages_have_statements() -> None:
    assert len(statements()) > 5


@pytest.mark.parametrize("statement", statements())
async def test_a_statement_of_a_page_runs(statement: str, database: Database) -> None:
    async with database.transaction() as conn:
        assert list(await conn.execute(text(statement))) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_target_of_make_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)\b", "\n".join(_code(page))))
    assert named <= targets


def _code(page: Path) -> list[str]:
    whole = page.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", whole, re.DOTALL | re.MULTILINE)
    return [*blocks, *re.findall(r"`(make [^`]+)`", whole)]


def test_test_files_that_are_named_as_arguments_exist() -> None:
    named = re.findall(r"\b(tests/[\w/]+(?:\.py)?)\b", (ROOT / "CONTRIBUTING.md").read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []

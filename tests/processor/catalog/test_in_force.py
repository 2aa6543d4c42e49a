"""Which catalog a command goes by: the database's, else the files'."""

from pathlib import Path

import pytest

from ops.errors import UsageError
from ops.settings import Settings
from processor.catalog import load
from processor.catalog.in_force import in_force
from store.engine import Database
from tests.builders.messages import with_catalog


@pytest.fixture
def walks(tmp_path: Path) -> Path:
    (tmp_path / "walks.yaml").write_text("events: {walk.finished: {topic: walks}}")
    return tmp_path


async def test_what_was_applied_goes_before_the_files(
    database: Database, database_url: str, walks: Path
) -> None:
    settings = Settings(database_url=database_url, catalog_dir=walks)
    before = await in_force(settings)
    await with_catalog(database)
    after = await in_force(settings)
    assert [spec.type for spec in before.events] == ["walk.finished"]
    assert (after.version, after.events) == (1, load.load(load.SHIPPED).events)


async def test_without_a_database_the_files_do(walks: Path) -> None:
    assert [spec.type for spec in (await in_force(Settings(catalog_dir=walks))).events] == [
        "walk.finished"
    ]
    assert await in_force(Settings()) == load.load(load.SHIPPED)


async def test_files_that_are_broken_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no \*\.yaml files"):
        await in_force(Settings(catalog_dir=tmp_path))

"""The oracle reads a catalog as `laurel catalog lint` takes it."""

import shutil
from pathlib import Path

import yaml

from demo.oracle.catalog import read_badges
from tests.demo.conftest import CATALOG


def test_levels_that_leave_out_their_order_stand_by_their_number(tmp_path: Path) -> None:
    """Not by their place in the file."""
    directory = tmp_path / "catalog"
    shutil.copytree(CATALOG, directory)
    file = directory / "explorer.yaml"
    document = yaml.safe_load(file.read_text())
    levels = document["types"]["explorer"]["levels"]
    for level in levels.values():
        level.pop("order", None)
    document["types"]["explorer"]["levels"] = dict(sorted(levels.items(), reverse=True))
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    assert read_badges(directory) == read_badges(CATALOG)

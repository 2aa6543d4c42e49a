"""Where the catalog's files are."""

from pathlib import Path

from ops.settings import Settings

SHIPPED = Path(__file__).parents[1] / "catalog"


def directory(settings: Settings) -> Path:
    """Return the configured catalog's directory, else the shipped one's."""
    return settings.catalog_dir or SHIPPED

"""The generated pages say what the code does."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(("page", "function"), [("cli.md", "cli_page"), ("metrics.md", "metrics_page")])
def test_a_generated_page_is_up_to_date(page: str, function: str) -> None:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (DOCS / page).read_text() == getattr(generate, function)(), (
        f"docs/{page} is behind the code: run `make docs`"
    )

"""What a stranger reads first is true."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_two_commands_are_the_makefiles() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    commands = [
        target
        for language, block in blocks
        if language == "sh"
        for target in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)
    ]
    assert {"demo", "test"} <= set(commands)
    assert set(commands) <= targets


def test_ci_ends_with_the_readmes_test_command() -> None:
    lines = (ROOT / ".ci" / "run").read_text().strip().splitlines()
    assert lines[-1] == "make test"
    assert "make demo" in lines


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.integration
def test_pages_of_docs_that_code_names_exist() -> None:
    patterns = ["*.py", "*.toml", "*.yml", "Makefile", "Dockerfile"]
    files = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    missing = {
        f"{name}: {page}"
        for name in files.stdout.split()
        for page in re.findall(r"docs/[A-Za-z0-9_/.-]+\.md", (ROOT / name).read_text())
        if not (ROOT / page).exists()
    }
    assert missing == set()

"""The pages say what the code does: generated ones, and every name in those written by hand."""

import ast
import importlib
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from cli import COMMANDS
from ops import metrics, settings

# They read the whole tree.
pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent
PRODUCT = ("cli.py", "processor", "minter", "store", "ops", "sandbox", "demo", "benchmarks")
GENERATED = {"cli.md", "metrics.md"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in GENERATED),
]
FOLDERS = "benchmarks|catalog|demo|deploy|docs|minter|ops|processor|sandbox|store|tests|third_party"
PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w/.-]*\w\.(?:py|md|yaml|yml|sql|toml|xml)\b")

# Words of others that pages quote, each with whose it is.
FOREIGN = {
    "get_nft_address_by_index": "TEP-62",
    "global_balance": "TL-B",
    "internal_transfer": "highload-wallet-v3's contract",
    "prev_blocks_info": "the TON virtual machine",
    "state_update": "TL-B",
    "read_uncommitted": "Kafka",
    "auto_offset_reset": "aiokafka",
}


def source_files() -> Iterator[Path]:
    """Yield the modules of the product, and those of the tests."""
    for name in (*PRODUCT, "tests", "docs"):
        place = ROOT / name
        yield from [place] if place.is_file() else sorted(place.rglob("*.py"))


def test_the_generated_pages_are_up_to_date() -> None:
    # In a process of its own: click keeps the help option that another test may have made.
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@cache
def vocabulary() -> frozenset[str]:
    """Return every name that the product defines or uses, and every word of its strings.

    Comments and docstrings do not count: they are prose as well.
    """
    words: set[str] = set()
    for name in PRODUCT:
        place = ROOT / name
        for path in [place] if place.is_file() else place.rglob("*.py"):
            words |= _names(ast.parse(path.read_text()))
            words.add(path.stem)
    others = ["docker-compose.yml", "pyproject.toml", "Makefile", *map(str, ROOT.glob("catalog/*"))]
    for file in [*others, *map(str, ROOT.glob("store/migrations/versions/*.sql"))]:
        words |= set(re.findall(r"\w+", (ROOT / file).read_text()))
    return frozenset(words)


def _names(tree: ast.Module) -> set[str]:
    prose = {
        id(each.body[0].value)
        for each in ast.walk(tree)
        if isinstance(each, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and each.body
        and isinstance(each.body[0], ast.Expr)
    }
    words: set[str] = set()
    for each in ast.walk(tree):
        match each:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word):
                words.add(word)
            case ast.ClassDef(name=word) | ast.FunctionDef(name=word):
                words.add(word)
            case ast.AsyncFunctionDef(name=word) | ast.alias(name=word):
                words |= set(word.split("."))
            case ast.keyword(arg=str(word)):
                words.add(word)
            case ast.Constant(value=str(text)) if id(each) not in prose:
                words |= set(re.findall(r"\w+", text))
            case _:
                pass
    return words


def quoted(page: Path) -> list[str]:
    """Return what stands between single backticks outside of code blocks."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", prose)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_name_in_a_page_is_one_of_the_code(page: Path) -> None:
    wrong = [text for text in quoted(page) if (wrong := _unknown(text)) is not None]
    assert not wrong, "\n".join(["no such name:", *wrong])


def _unknown(text: str) -> str | None:
    """Return what of a quoted text is no name of the code; None where all are."""
    dotted = re.fullmatch(r"((?:processor|minter|store|ops|sandbox|demo)\.[\w.]+)(?:\(.*\))?", text)
    if dotted:
        return None if _resolves(dotted[1]) else text
    if command := re.fullmatch(r"laurel ([a-z]+)\b.*", text):
        return None if command[1] in COMMANDS else text
    named: list[str] = re.findall(r"LAUREL_\w+", text)
    for word in named:
        if word not in settings.environment_names() and word not in vocabulary():
            return word
    metric_names: list[str] = re.findall(r"\blaurel_\w+", text)
    for word in metric_names:
        if word not in _metric_names():
            return word
    snake: list[str] = re.findall(r"(?<![\w/-])[a-z]+(?:_[a-z0-9]+)+\b", text)
    camel: list[str] = re.findall(r"(?<![\w/-])(?:[A-Z][a-z0-9]+){2,}\b", text)
    for word in [*snake, *camel]:
        if word not in vocabulary() and word not in FOREIGN and not word.startswith("laurel_"):
            return word
    return None


def _metric_names() -> set[str]:
    found = (each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase))
    names = {described.name for each in found for described in each.describe()}
    return names | {f"{name}_total" for name in names}


def _resolves(dotted: str) -> bool:
    """Return whether `a.b.c` is a module, or something in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for name in parts[count:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def test_words_of_others_are_still_quoted() -> None:
    there = " ".join(text for page in PAGES for text in quoted(page))
    assert [word for word in FOREIGN if word not in there] == []


def test_a_path_in_a_page_exists() -> None:
    missing = {
        f"{page.relative_to(ROOT)}: {path}"
        for page in PAGES
        for path in PATH.findall(page.read_text())
        if not (ROOT / path).exists()
    }
    assert missing == set()


def test_a_path_in_a_comment_or_docstring_exists() -> None:
    missing = {
        f"{file.relative_to(ROOT)}: {path}"
        for file in source_files()
        for path in PATH.findall(_prose(file))
        if not (ROOT / path).exists()
    }
    assert missing == set()


def _prose(file: Path) -> str:
    text = file.read_text()
    comments = [
        each.string
        for each in tokenize.generate_tokens(io.StringIO(text).readline)
        if each.type == tokenize.COMMENT
    ]
    docstrings = [
        ast.get_docstring(each) or ""
        for each in ast.walk(ast.parse(text))
        if isinstance(each, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return "\n".join([*comments, *docstrings])


@pytest.mark.parametrize(
    "text",
    [
        "balance_low",
        "LAUREL_DATBASE_URL",
        "laurel_event_total",
        "laurel mnt",
        "PipelineOption",
        "processor.rules.levels.evaluat",
        "nft_instance.nft_statuss",
    ],
)
def test_a_name_that_does_not_exist_is_seen(text: str) -> None:
    assert _unknown(text) is not None

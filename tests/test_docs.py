"""The pages say what the code does: generated ones, and every name in those written by hand."""

import ast
import importlib
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from cli import COMMANDS, main
from ops import metrics, settings
from store.models import Base
from tests.pure_modules import MAY_IMPORT

# They read the whole tree.
pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent
PRODUCT = ("cli.py", "processor", "minter", "store", "ops", "sandbox", "demo")
GENERATED = {"cli.md", "metrics.md"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in GENERATED),
    *sorted((ROOT / ".github").rglob("*.md")),
    *sorted((ROOT / ".github").rglob("*.yml")),
    *sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml")),
]
FOLDERS = "benchmarks|catalog|demo|deploy|docs|minter|ops|processor|sandbox|store|tests|third_party"
PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w/.-]*\w\.(?:py|md|yaml|yml|sql|toml|xml)\b")

LOG_METHODS = {"debug", "info", "warning", "error", "exception"}

# Words that pages quote and that the code does not define, each with whose it is.
FOREIGN = {
    "search_path": "PostgreSQL",
    "OWNER_URL": "the shell of whoever restores a backup",
    "SERVER_URL": "the same",
    "GRANT": "PostgreSQL",
    "TEMPORARY": "PostgreSQL",
    "synchronous_standby_names": "PostgreSQL",
    "USAGE": "PostgreSQL",
    "App": "Faust",
    "auto_offset_reset": "aiokafka",
    "binascii.crc_hqx": "Python",
    "BlockDeleted": "pytonlib",
    "ce_": "CloudEvents: the prefix of headers",
    "crc16": "the distribution that third_party stands in for",
    "CrashingSupervisor": "mode, beneath Faust",
    "create_all": "SQLAlchemy",
    "defaultMode: 0440": "Kubernetes",
    "float_hook": "msgspec",
    "get_nft_address_by_index": "TEP-62",
    "get_revoked_time": "TEP-85",
    "getLibraries": "TON's lite servers",
    "fsGroup": "Kubernetes",
    "global_balance": "TL-B",
    "init_block": "TON's global config",
    "internal_transfer": "highload-wallet-v3's contract",
    "liteServer.error": "TL",
    "make": "GNU",
    "multipleOf": "JSON Schema",
    "nobody": "Linux: a user",
    "pipx": "Python",
    "datetime.now": "Python",
    "uuid4": "Python",
    "plan_cache_mode": "PostgreSQL",
    "force_custom_plan": "PostgreSQL",
    "postgresql-15": "Debian",
    "prev_blocks_info": "the TON virtual machine",
    "raw_run_method": "pytonlib",
    "read_committed": "Kafka",
    "read_uncommitted": "Kafka",
    "repr": "Python",
    "restrict_violation": "PostgreSQL",
    "runSmcMethod": "TON's lite servers",
    "session_replication_role": "PostgreSQL",
    "sslmode": "libpq",
    "src/": "Python's projects: the folder that this one lacks",
    "state_update": "TL-B",
    "synchronous_commit": "PostgreSQL",
    "autovacuum_vacuum_scale_factor": "PostgreSQL",
    "checkpoint_timeout": "PostgreSQL",
    "max_wal_size": "PostgreSQL",
    "shared_buffers": "PostgreSQL",
    "wal_compression": "PostgreSQL",
    "pg_repack": "an extension of PostgreSQL",
    "progress_member_pkey": "PostgreSQL's name for a primary key",
    "ton_core": "a wheel that tonutils brings",
    "True": "Python",
    "vX.Y.Z": "git: the form of a tag",
    "work_mem": "PostgreSQL",
    "yes": "YAML 1.1",
    # Ours, and no name of the code.
    "around": "an argument of TonNetwork.start",
    "details.level": "a key in the JSON of nft_audit_log.details",
    "laurel.": "a prefix that no import has",
    "laurel.commands": "a topic, as laurel.quests is",
    "laurel.quests": "a topic: the prefix of the settings and the catalog's name",
}


def source_files() -> Iterator[Path]:
    """Yield the modules of the product, and those beside it."""
    for name in (*PRODUCT, "benchmarks", "tests", "docs"):
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
    """Return the words that a page may quote: the names and closed sets of the product.

    Modules, classes, functions, fields and constants; columns and tables; codes, log events, enum
    values, labels of metrics; settings; the catalog's keys and names; targets of the Makefile, the
    words of pyproject.toml, services and variables of docker-compose.yml. No local variable, no
    argument, no other text.
    """
    words: set[str] = set()
    for name in PRODUCT:
        place = ROOT / name
        for path in [place] if place.is_file() else place.rglob("*.py"):
            words |= {path.stem, *path.relative_to(ROOT).parent.parts}
            words |= set(_names(ast.parse(path.read_text())))
    for table in Base.metadata.tables.values():
        words |= {table.name, *(column.name for column in table.columns)}
        words |= {f"{table.name}.{column.name}" for column in table.columns}
    words |= set(settings.environment_names())
    for file in ROOT.glob("catalog/*.yaml"):
        words |= set(_yaml_words(yaml.safe_load(file.read_text())))
    words |= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    words |= {re.split(r"[^\w-]", each)[0] for each in project["project"]["dependencies"]}
    for extra, needed in project["project"]["optional-dependencies"].items():
        words |= {extra, *(re.split(r"[^\w-]", each)[0] for each in needed)}
    words |= {each.split(":")[0] for each in project["tool"]["pytest"]["ini_options"]["markers"]}
    compose = (ROOT / "docker-compose.yml").read_text()
    words |= {*yaml.safe_load(compose)["services"], *re.findall(r"\$\{(\w+)", compose)}
    return frozenset(words)


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield what a module defines, and the words of its closed sets."""
    for each in ast.walk(tree):
        match each:
            case ast.ClassDef(name=word, body=body):
                yield word
                yield from _fields(body, word)
            case ast.FunctionDef(name=word) | ast.AsyncFunctionDef(name=word):
                yield word
            case ast.Call(func=ast.Attribute(attr=method), args=args) if method in LOG_METHODS:
                yield from _texts(args[:1])
            case ast.Call(func=ast.Attribute(attr="labels"), args=args):
                yield from _texts(args)
            case _:
                pass
    yield from _fields(tree.body, "")


def _fields(body: list[ast.stmt], owner: str) -> Iterator[str]:
    """Yield the names that a module or class binds, and the words in what it binds them to."""
    for each in body:
        match each:
            case ast.AnnAssign(target=ast.Name(id=word), value=value):
                yield from (word, f"{owner}.{word}")
                yield from _texts([value] if value else [])
            case ast.Assign(targets=[ast.Name(id=word)], value=value):
                yield from (word, f"{owner}.{word}")
                yield from _texts([value])
            case ast.FunctionDef(name=word) | ast.AsyncFunctionDef(name=word):
                yield f"{owner}.{word}"
            case _:
                pass


def _texts(values: Iterable[ast.expr]) -> Iterator[str]:
    """Yield the strings in `values` that are one word."""
    for value in values:
        for each in ast.walk(value):
            match each:
                case ast.Constant(value=str(text)) if re.fullmatch(r"[\w.-]+", text):
                    yield text
                case _:
                    pass


def _yaml_words(value: object) -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                yield str(key)
                yield from _yaml_words(inner)
        case list():
            for inner in value:
                yield from _yaml_words(inner)
        case str() if re.fullmatch(r"[\w.-]+", value):
            yield value
        case _:
            pass


@cache
def literals() -> frozenset[str]:
    """Return the strings of the product that are an option, a path of HTTP or a TL name."""
    found: set[str] = set()
    for name in PRODUCT:
        place = ROOT / name
        for path in [place] if place.is_file() else place.rglob("*.py"):
            tree = ast.parse(path.read_text())
            prose = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
            for each in ast.walk(tree):
                match each:
                    case ast.Constant(value=str(text)) if id(each) not in prose:
                        found |= set(re.findall(r"^(?:--|/)[a-z][\w-]*$", text))
                        found |= set(re.findall(r"liteServer\.(\w+)", text))
                    case _:
                        pass
    return frozenset(found)


@cache
def files() -> frozenset[str]:
    """Return the tree's files and folders, and every shorter way to write one of them."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    found: set[str] = set()
    for file in map(Path, listed):
        for path, end in [(file, ""), *((parent, "/") for parent in file.parents)]:
            found |= {"/".join(path.parts[at:]) + end for at in range(len(path.parts))}
    return frozenset(found)


def quoted(page: Path) -> list[str]:
    """Return what stands between single backticks outside of code blocks.

    Of the changelog only what is not released: a release has the names that it had.
    """
    text = page.read_text()
    if page.name == "CHANGELOG.md":
        text = text[: re.search(r"^## \d", text, re.MULTILINE).start()]  # type: ignore[union-attr]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", prose)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_name_in_a_page_is_one_of_the_code(page: Path) -> None:
    wrong = [text for text in quoted(page) if (wrong := _unknown(text)) is not None]
    assert not wrong, "\n".join(["no such name:", *wrong])


def _unknown(text: str) -> str | None:
    """Return what of a quoted text is no name of ours, nor a known one of others."""
    if text in FOREIGN or text in vocabulary() or text in literals() or text in files():
        return None
    if text in MAY_IMPORT:  # Python's and other libraries' modules, listed as such on the page
        return None
    words = text.split()
    if words[0] == "laurel" or (len(words) > 1 and words[0] in COMMANDS):
        return _unknown_command(words[1:] if words[0] == "laurel" else words)
    if re.fullmatch(r"make [a-z]+", text):
        return None if words[1] in vocabulary() else text
    if dotted := re.fullmatch(rf"((?:{FOLDERS})\.[\w.]+)(?:\(.*\))?", text):
        return None if _resolves(dotted[1]) else text
    if len(words) == 1 and re.fullmatch(r"(?:--|/)?[A-Za-z_][\w./-]*", text):
        return text
    return next((word for word in _names_in(text) if not _is_known(word)), None)


def _names_in(text: str) -> Iterator[str]:
    """Yield what in a text of several words can only be meant as a name."""
    yield from re.findall(r"^([A-Za-z_][\w.]*) ?[=:{]", text)
    yield from re.findall(r"LAUREL_\w+", text)
    yield from re.findall(r"(?<![\w/-])[a-z]+(?:_[a-z0-9]+)+\b", text)
    yield from re.findall(r"(?<![\w/-])(?:[A-Z][a-z0-9]+){2,}\b", text)


def _is_known(word: str) -> bool:
    return word in vocabulary() or word in FOREIGN or word in _metric_names()


def _unknown_command(words: list[str]) -> str | None:
    """Return the first word that the command line does not take."""
    command: click.Command = main
    context = click.Context(main)
    for word in words:
        options = [*command.params, *main.params]
        names = {opt for each in options for opt in (*each.opts, *each.secondary_opts)}
        if word.startswith("-"):
            if word not in names | {"-h", "--help", "--version"}:
                return word
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return word
            command = found
    return None


def test_a_command_in_an_example_is_one_of_ours() -> None:
    wrong = [
        f"{page.relative_to(ROOT)}: {line}"
        for page in PAGES
        for block in re.findall(r"^```\w*$(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
        for line in re.findall(r"^(?:.*/bin/|[A-Z_=.\w]+ )*laurel (.+)$", block, re.MULTILINE)
        for command in line.partition(" #")[0].split(" && laurel ")
        if _unknown_command(command.split()) is not None
    ]
    assert wrong == []


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
    assert [word for word in FOREIGN if word in vocabulary()] == [], "ours: no need to list it"


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
        "balancelow",
        "balancelow = 5",
        "LAUREL_DATBASE_URL",
        "laurel_event_total",
        "laurel mnt",
        "laurel catalog frobnicate",
        "laurel worker --nonsense",
        "laurel reconcile --repair --jsonn",
        "catalog frobnicate",
        "make tests",
        "PipelineOption",
        "Workshop",
        "Resign",
        "no-such-thing",
        "stalledd",
        "by_hand",
        "processor.rules.levels.evaluat",
        "nft_instance.nft_statuss",
        "batch.mergedd",
        "badge.mnt",
        "foo.py",
        "streams/",
        "--nonsense",
        "/readyy",
    ],
)
def test_a_name_that_does_not_exist_is_seen(text: str) -> None:
    assert _unknown(text) is not None

"""The tree is as docs/architecture.md says: modules, names, purity, and a test for each module."""

import ast
import re
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.pure_modules import pure_modules

ROOT = Path(__file__).parent.parent
PACKAGES = ("processor", "minter", "store", "ops", "sandbox", "demo")
PAGE = (ROOT / "docs" / "architecture.md").read_text()

# Class names that stand for two things, each with the reason.
DEFINED_TWICE = {
    "Account": "TON's word in minter/ton, the operating system's in sandbox",
    "Block": "what the minter sees of a block, and the block that the sandbox makes",
    "MessageKind": "of ours, and of TON's messages",
    "Rejected": "a message, and an external message that the sandbox's chain refuses",
    "UserWallet": "a table, and a wallet that the sandbox brings along",
}

# Modules without a test file of their own, and where they are tested.
TESTED_ELSEWHERE = {
    "processor/history/inputs/file_parts.py": "tests/processor/history/test_spark_history.py",
    "processor/history/part_reading.py": "tests/processor/history/test_spark_history.py",
    "processor/history/bulk_identity.py": "tests/processor/history/test_bulk_reader.py",
    "processor/history/written_times.py": "tests/processor/history/test_bulk_reader.py",
    "processor/history/event_rows.py": "tests/processor/history/test_event_table.py",
    "processor/history/user_slice.py": "tests/processor/history/test_event_table.py",
    "processor/history/kept_records.py": "tests/processor/history/test_reading.py",
    "processor/history/pieces.py": "tests/processor/history/test_reading.py",
    "processor/history/scan.py": "tests/processor/history/test_backfill.py",
    "processor/topic_source.py": "tests/processor/test_backfill_command.py",
    "processor/events/event.py": "tests/processor/events/test_reader.py",
    "processor/stream/partition_commands.py": "tests/processor/stream/test_partition_decisions.py",
    "minter/context.py": "tests/minter/test_daemon.py",
    "minter/burn_signing.py": "tests/minter/test_signing.py",
    "minter/message_signing.py": "tests/minter/test_signing.py",
    "minter/mint_signing.py": "tests/minter/test_signing.py",
    "minter/queue_commands.py": "tests/minter/test_queue_decisions.py",
    "minter/reconcile_report.py": "tests/minter/test_reconcile.py",
    "minter/ton/gateway.py": "tests/minter/ton/test_liteserver.py",
    "minter/ton/global_config.py": "tests/minter/test_startup.py",
    "minter/ton/lite_client.py": "tests/minter/ton/test_liteserver.py",
    "minter/ton/mnemonic.py": "tests/minter/test_commands.py",
    "minter/ton/values.py": "tests/minter/ton/test_tokens.py",
    "processor/batch/attempt.py": "tests/processor/stream/test_metrics.py",
    "processor/batch/level_changes.py": "tests/processor/batch/test_pipeline.py",
    "processor/history/load_report.py": "tests/processor/history/test_loading.py",
    "processor/history/slice_transaction.py": "tests/processor/history/test_loading.py",
    "processor/batch/options.py": "tests/processor/batch/test_pipeline.py",
    "processor/batch/writing.py": "tests/processor/batch/test_command_batches.py",
    "processor/events/chunks.py": "tests/processor/batch/test_fence.py",
    "processor/events/envelope.py": "tests/processor/events/test_reader.py",
    "processor/events/rejection.py": "tests/processor/events/test_reader.py",
    "processor/history/drift.py": "tests/processor/history/test_rebuild.py",
    "processor/history/rebuild_report.py": "tests/processor/history/test_rebuild_commands.py",
    "processor/history/rebuild_run.py": "tests/processor/history/test_rebuild_commands.py",
    "processor/history/shadow_fill.py": "tests/processor/history/test_rebuild.py",
    "processor/history/fill_forecast.py": "tests/processor/history/test_fill_closing.py",
    "processor/history/fill_report.py": "tests/processor/history/test_fill_commands.py",
    "processor/history/fill_run.py": "tests/processor/history/test_fill_commands.py",
    "processor/rules/diagnostics.py": "tests/processor/catalog/test_load.py",
    "processor/stream/app.py": "tests/e2e/test_worker.py",
    "processor/stream/consumer_thread.py": "tests/processor/stream/test_transport.py",
    "processor/stream/offset_store.py": "tests/e2e/test_offsets.py",
    "processor/stream/topics.py": "tests/e2e/test_worker.py",
    "processor/stream/worker.py": "tests/e2e/test_worker.py",
    "store/catalog_document.py": "tests/store/test_catalogs.py",
    "store/chain_messages.py": "tests/store/test_chain.py",
    "store/fill_closing.py": "tests/processor/history/test_fill_closing.py",
    "store/fill_staging.py": "tests/processor/history/test_fill.py",
    "store/fills.py": "tests/processor/history/test_fill.py",
    "store/inspection.py": "tests/demo/test_inspection.py",
    "store/migrations/env.py": "tests/store/test_migrations.py",
    "store/models/achievements.py": "tests/store/test_models.py",
    "store/models/badges.py": "tests/store/test_models.py",
    "store/models/base.py": "tests/store/test_models.py",
    "store/models/catalog.py": "tests/store/test_models.py",
    "store/models/fills.py": "tests/store/test_models.py",
    "store/models/history.py": "tests/store/test_models.py",
    "store/models/minting.py": "tests/store/test_models.py",
    "store/models/outbox.py": "tests/store/test_models.py",
    "store/models/stream.py": "tests/store/test_models.py",
    "store/queue_decisions.py": "tests/minter/test_queue_decisions.py",
    "store/rebuild_events.py": "tests/processor/history/test_rebuild.py",
    "store/rebuilds.py": "tests/processor/history/test_rebuild.py",
    "store/reconciliation.py": "tests/minter/test_reconcile.py",
    "store/reevaluation.py": "tests/processor/catalog/test_apply.py",
    "store/settling.py": "tests/store/test_chain.py",
    "store/shadow_drift.py": "tests/processor/history/test_rebuild.py",
    "store/values/achievements.py": "tests/store/test_enums.py",
    "store/values/badges.py": "tests/store/test_enums.py",
    "store/values/catalog.py": "tests/store/test_enums.py",
    "store/values/fills.py": "tests/store/test_enums.py",
    "store/values/history.py": "tests/store/test_enums.py",
    "store/values/minting.py": "tests/store/test_enums.py",
    "store/values/names.py": "tests/store/test_enums.py",
    "store/values/outbox.py": "tests/store/test_enums.py",
    "store/values/shadows.py": "tests/processor/history/test_rebuild.py",
    "store/values/stream.py": "tests/store/test_enums.py",
}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def modules(*packages: str) -> list[Path]:
    """Return the modules of packages, without revisions and package docstrings."""
    return [
        path
        for package in packages
        for path in sorted((ROOT / package).rglob("*.py"))
        if "versions" not in path.parts
        and (path.name != "__init__.py" or len(parsed(path).body) > 1)
    ]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_page_names_every_module_once() -> None:
    named = re.findall(r"^\| `([^`]+\.py)` \| \S.* \|$", PAGE, re.MULTILINE)
    there = ["cli.py", *map(relative, modules(*PACKAGES))]
    assert sorted(set(there) - set(named)) == [], "not in docs/architecture.md"
    assert sorted(set(named) - set(there)) == [], "in docs/architecture.md, and not in the tree"
    assert sorted(named) == sorted(set(named))


def test_what_says_pure_is_held_to_it() -> None:
    """Docstring, row and contract name the same modules."""
    held = sorted(relative(path) for path in pure_modules().values() if path.name != "__init__.py")
    in_docstring = [
        relative(path)
        for path in modules(*PACKAGES)
        if path.name != "__init__.py"
        and "Pure" in path.read_text()
        and re.search(r"\bPure\b", ast.get_docstring(parsed(path)) or "")
    ]
    in_row = re.findall(r"^\| `([^`]+\.py)` \| .* \(pure\) \|$", PAGE, re.MULTILINE)
    assert held != []
    assert sorted(in_docstring) == held, "docstrings that say Pure, and pyproject's contract"
    assert sorted(in_row) == held, "rows that say (pure), and pyproject's contract"


def test_the_page_has_the_layers_of_every_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [" > ".join(each["layers"]) for each in contracts["contracts"] if "layers" in each]
    assert len(layers) > 1
    assert [each for each in layers if f"`{each}`" not in PAGE] == []


def test_a_class_name_is_defined_once() -> None:
    """Outside demo/, whose oracle shares no code with the product; private ones stay in a file."""
    places = defaultdict(list)
    for path in [ROOT / "cli.py", *modules("processor", "minter", "store", "ops", "sandbox")]:
        # By lines, which the formatter holds to be enough: parsing takes a tenth of `make unit`.
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := re.match(r"\s*class ([A-Za-z]\w*)[(:\[]", line):
                places[found[1]].append(f"{relative(path)}:{number}")
    twice = {name: where for name, where in places.items() if len(where) > 1}
    new = [
        f"{name}: {', '.join(where)}" for name, where in twice.items() if name not in DEFINED_TWICE
    ]
    assert not new, "\n".join(["defined twice:", *new])
    assert set(DEFINED_TWICE) <= set(twice), "remove what is defined once now from DEFINED_TWICE"


@pytest.mark.parametrize("package", ["processor", "minter", "store"])
def test_tests_mirror_the_tree(package: str) -> None:
    without = [
        relative(path)
        for path in modules(package)
        if not (ROOT / "tests" / path.relative_to(ROOT).parent / f"test_{path.stem}.py").exists()
        and relative(path) not in TESTED_ELSEWHERE
        and path.name != "__init__.py"
    ]
    assert not without, "\n".join(["no test of its own: write one, or say where:", *without])


def test_what_is_tested_elsewhere_is() -> None:
    for module, test in TESTED_ELSEWHERE.items():
        assert (ROOT / module).exists(), module
        assert (ROOT / test).exists(), test
        mirror = ROOT / "tests" / Path(module).parent / f"test_{Path(module).stem}.py"
        assert not mirror.exists(), f"{module} has a test file: take it out of TESTED_ELSEWHERE"

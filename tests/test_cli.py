"""The command line: what it loads, what it promises, how it fails."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli import COMMANDS, main
from ops.errors import LaurelError, UsageError

# What `laurel --help` may import beyond the standard library and click.
ALLOWED_ROOTS = {"cli", "ops", "click"}


def walk(
    group: click.Group, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += walk(command, (*path, name))
    return found


@pytest.mark.integration
def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "from click.testing import CliRunner; from cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "print('\\n'.join(sorted({m.partition('.')[0] for m in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        root for root in done.stdout.split() if root not in sys.stdlib_module_names
    } - ALLOWED_ROOTS
    assert heavy == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_line_of_a_command_is_its_own(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.help or "").strip().partition("\n")[0].strip() == COMMANDS[name][1]


def test_every_command_explains_itself_with_an_example() -> None:
    silent = []
    for path, command in walk(main):
        if not isinstance(command, click.Group):
            text = command.get_help(click.Context(command, info_name=" ".join(path)))
            if f"laurel {' '.join(path)}" not in text.partition("Usage:")[2].partition("\n")[2]:
                silent.append(" ".join(path))
    assert silent == []


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["mnt"])
    assert result.exit_code == 2
    assert "mnt" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            UsageError("catalog/a.yaml:3: no such counter."),
            2,
            # As editors look for it.
            "catalog/a.yaml:3: no such counter.",
        ),
        (LaurelError("it broke"), 1, "laurel: error: it broke"),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(
    error: LaurelError, code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(main, "get_command", lambda _ctx, _name: failing)
    result = CliRunner().invoke(main, ["anything"])
    assert (result.exit_code, result.stderr.strip(), result.stdout) == (code, words, "")


def test_config_check_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUREL_DATABASE_URL", "postgresql://laurel:hunter2@127.0.0.1/laurel")
    result = CliRunner().invoke(main, ["config", "check", "--json"])
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert json.loads(result.stdout)["LAUREL_DATABASE_URL"] == "(set, hidden)"


def test_config_check_marks_what_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUREL_MINTER__ITEM_VALUE", "0.070")
    monkeypatch.delenv("LAUREL_HTTP__PORT")  # of all tests
    lines = CliRunner().invoke(main, ["config", "check"]).stdout.splitlines()
    starred = [line.split() for line in lines if line.startswith("*")]
    assert starred == [["*", "LAUREL_MINTER__ITEM_VALUE", "0.07"]]
    assert any(line.split() == ["LAUREL_MINTER__LEASE", "1m"] for line in lines)


def test_a_misspelt_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUREL_DATBASE_URL", "postgresql://127.0.0.1/laurel")
    result = CliRunner().invoke(main, ["config", "check"])
    assert result.exit_code == 2
    assert "LAUREL_DATBASE_URL" in result.stderr


def test_a_command_leaves_its_metrics_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_METRICS_TEXTFILE", str(tmp_path / "laurel.prom"))
    assert CliRunner().invoke(main, ["config", "check"]).exit_code == 0
    written = (tmp_path / "laurel.prom").read_text()
    assert "# TYPE laurel_errors_total counter" in written
    # Of other roles: a wallet's balance would be 0 here, and a worker not ready.
    assert "laurel_wallet" not in written
    assert "laurel_ready" not in written


def test_a_folder_for_metrics_that_is_missing_is_said_and_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_METRICS_TEXTFILE", str(tmp_path / "missing" / "laurel.prom"))
    result = CliRunner().invoke(main, ["config", "check"])
    assert result.exit_code == 0
    assert "LAUREL_METRICS_TEXTFILE: " in result.stderr
    assert "No such file or directory" in result.stderr


def test_doctor_names_what_failed_and_what_was_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUREL_WALLET_MNEMONIC_FILE", "/nowhere/wallet.words")
    monkeypatch.setenv("LAUREL_TON_CONFIG", "/nowhere/global.config.json")
    result = CliRunner().invoke(main, ["doctor", "--json"])
    found = json.loads(result.stdout)
    assert result.exit_code == 2
    states = {name: each["state"] for name, each in found.items()}
    assert {name for name, state in states.items() if state == "ok"} == {
        "settings",
        "catalog files",
    }
    assert {name for name, state in states.items() if state == "fail"} == {
        "wallet",
        "ton",
        "metadata",
    }
    assert set(states.values()) == {"ok", "fail", "skip"}
    assert "/nowhere/wallet.words" in found["wallet"]["detail"]
    lines = CliRunner().invoke(main, ["doctor"]).stdout.splitlines()
    assert lines[1] == "skip  database       LAUREL_DATABASE_URL is not set"


def test_doctor_says_where_a_folder_for_metrics_is_missing_and_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_METRICS_TEXTFILE", str(tmp_path / "missing" / "laurel.prom"))
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 1
    settings = json.loads(result.stdout)["settings"]
    assert settings["state"] == "warn"
    assert str(tmp_path / "missing") in settings["detail"]


def test_status_without_an_address_says_what_to_set() -> None:
    result = CliRunner().invoke(main, ["status"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "set LAUREL_DATABASE_URL, LAUREL_KAFKA_BROKERS or LAUREL_TON_CONFIG" in result.stderr

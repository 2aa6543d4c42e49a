"""`laurel sandbox`: a network that anybody's TON client can be pointed at, and its faucet."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from sandbox.ports import reserved
from tests.builders.cli import laurel

pytestmark = pytest.mark.integration

ADDRESS = "0:" + "5a" * 32


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    directory = tmp_path_factory.mktemp("ton")
    with reserved("127.0.0.1", None) as admin_port:
        line = [
            "sandbox",
            "ton",
            "--directory",
            str(directory),
            "--admin-port",
            str(admin_port),
            "--block-interval",
            "0.05",
            "--json",
        ]
    child = subprocess.Popen(
        [sys.executable, "-m", "cli", *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    with child.stdout:
        yield json.loads(child.stdout.readline())
    child.send_signal(signal.SIGINT)
    assert child.wait() == 0


def test_the_network_says_where_it_is(network: dict[str, str]) -> None:
    config = json.loads(Path(network["config"]).read_text())
    assert config["@type"] == "config.global"
    assert len(config["liteservers"]) == 1


def test_the_faucet_pays(network: dict[str, str]) -> None:
    result = CliRunner().invoke(
        main, ["sandbox", "fund", ADDRESS, "--gram", "2.5", "--faucet", network["faucet"], "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["amount_nano"] == 2_500_000_000


@pytest.mark.parametrize(
    ("address", "faucet", "words"),
    [
        ("nobody", None, "'nobody' is no address"),
        (ADDRESS, "http://127.0.0.1:1", "laurel sandbox ton"),
        (ADDRESS, "ftp://127.0.0.1", "--faucet ftp://127.0.0.1"),
    ],
)
def test_a_wrong_address_or_place_is_named(
    network: dict[str, str], address: str, faucet: str | None, words: str
) -> None:
    result = CliRunner().invoke(
        main, ["sandbox", "fund", address, "--faucet", faucet or network["faucet"]]
    )
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_network_that_cannot_be_where_it_is_asked_to_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, words in (
            (["--admin-port", port], f"127.0.0.1:{port} cannot be listened on"),
            (["--port", port], f"127.0.0.1:{port} cannot be listened on"),
            (
                ["--directory", str(tmp_path / "file" / "x")],
                "--directory: .* cannot be made: Not a",
            ),
        ):
            line = ["sandbox", "ton", "--directory", str(tmp_path / "ton"), *options]
            result = laurel(*line)
            assert result.returncode == 2
            assert re.search(words, result.stderr)
            assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--port", "70000"),
        ("--port", "-5"),
        ("--admin-port", "70000"),
        ("--block-interval", "nan"),
        ("--block-interval", "inf"),
        ("--block-interval", "1e300"),
    ],
)
def test_a_number_that_no_network_could_take_is_named(option: str, value: str) -> None:
    result = CliRunner().invoke(main, ["sandbox", "ton", option, value])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


@pytest.mark.parametrize("amount", ["nan", "inf", "1e300", "0", "-1"])
def test_an_amount_that_is_none_is_named(amount: str) -> None:
    result = CliRunner().invoke(main, ["sandbox", "fund", ADDRESS, "--gram", amount])
    assert result.exit_code == 2
    assert "Invalid value for '--gram'" in result.stderr


@pytest.mark.parametrize("faucet", ["http://a..b", "http://127.0.0.1:x", "http://a b", "http://"])
def test_a_place_that_cannot_be_asked_is_named(faucet: str) -> None:
    result = CliRunner().invoke(main, ["sandbox", "fund", ADDRESS, "--faucet", faucet])
    assert result.exit_code == 2
    assert faucet in result.stderr


def test_somebody_else_in_the_faucets_place_is_no_faucet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()  # noqa: PLW0108
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        result = CliRunner().invoke(main, ["sandbox", "fund", ADDRESS, "--faucet", place])
    assert result.exit_code == 2
    assert f"No faucet answers at {place}" in result.stderr

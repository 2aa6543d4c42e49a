"""`make verify-testnet`: all of it on the local network, and nothing on any other than it is for."""

import asyncio
import base64
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from minter.startup import minting_wallet
from minter.ton import mnemonic
from minter.ton.global_config import zero_state_hash
from ops.settings import Settings
from ops.throwaway import throwaway
from sandbox.ton.process import TonProcess

ROOT = Path(__file__).parents[2]
METADATA = "https://badges.mine/metadata"
# Of the main network, as https://ton.org/global.config.json has it.
MAINNET = "F6OpKZKqvqeFp6CQmFomXNMfMj2EnaUSOXN+Mh+wVWk="


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location(
        "verify_testnet", ROOT / "deploy" / "verify_testnet.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that PostgreSQL may enter, whoever it runs as."""
    with throwaway("verify-test") as path:
        yield path


def written(path: Path, words: str) -> list[str]:
    """The command line of a run with a config whose zero state is `words`."""
    config = {
        "liteservers": [
            {"ip": 2130706433, "port": 1, "id": {"@type": "pub.ed25519", "key": "A" * 43 + "="}}
        ],
        "validator": {
            "zero_state": {
                "workchain": -1,
                "shard": -(1 << 63),
                "seqno": 0,
                "root_hash": words,
                "file_hash": words,
            }
        },
    }
    (path / "config.json").write_text(json.dumps(config))
    return [
        *("--words", str(path / "missing.words")),
        *("--config", str(path / "config.json")),
        *("--metadata", METADATA),
        *("--directory", str(path / "kept")),
    ]


@pytest.mark.parametrize("network", [MAINNET, base64.b64encode(b"\1" * 32).decode()])
def test_any_network_but_the_testnet_is_refused_before_anything_is_done(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], network: str
) -> None:
    assert script.main(written(tmp_path, network)) == 2
    said = capsys.readouterr().err
    assert said.startswith("NOT VERIFIED")
    assert "is no config of TON's testnet" in said
    assert base64.b64decode(network).hex() in said
    assert not (tmp_path / "kept").exists()


def test_the_testnet_is_the_network_that_it_is_for(script: ModuleType, directory: Path) -> None:
    """It comes past the refusal, as far as the words that are missing here."""
    words = base64.b64encode(script.TESTNET).decode()
    assert words == "gj+B8wb/AmlPk1z1AhVI484rhrUpgSr2oSFIh56VoSg="
    with pytest.raises(script.UsageError, match=r"missing\.words"):
        script.verify(wanted(script, written(directory, words)))


def wanted(script: ModuleType, arguments: list[str]) -> object:
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    return script.Wanted(
        Path(given["--words"]),
        Path(given["--config"]),
        given["--metadata"],
        script.NOBODY,
        Path(given["--directory"]),
    )


async def test_a_token_is_minted_read_and_revoked(
    script: ModuleType,
    ton_process: TonProcess,
    directory: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As on the testnet: the config says nothing of a local network, and the words have money."""
    config = {k: v for k, v in ton_process.config.items() if k != "laurel_local_network"}
    (directory / "config.json").write_text(json.dumps(config))
    words = directory / "wallet.words"
    mnemonic.write_new(words)
    run = script.Wanted(
        words, directory / "config.json", METADATA, script.NOBODY, directory / "kept"
    )
    network = zero_state_hash(config)
    with pytest.raises(script.UsageError, match=r"send it [\d.]+ Grams"):
        await asyncio.to_thread(script.verify, run, network)
    _, wallet = minting_wallet(Settings(wallet_mnemonic_file=words, ton_config=run.config))
    await ton_process.fund(wallet.address, 2 * 10**9)
    await asyncio.to_thread(script.verify, run, network)
    said = capsys.readouterr().out
    assert "read it: owner, authority and content" in said
    assert "reconcile finds nothing afterwards" in said

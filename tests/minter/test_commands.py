"""`laurel reconcile` and `laurel wallet`, as a person or a script calls them."""

import asyncio
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ton_core.boc.address import Address

from minter.ton.global_config import place, read_config, zero_state_hash
from ops.errors import UsageError
from ops.settings import Settings
from sandbox.ton.network import TonNetwork
from tests.builders.world import World, all_in, eventually, has_task, minting

ROOT = Path(__file__).parents[2]
LAST_SUCCESS = "laurel_reconcile_last_success_timestamp_seconds"


@dataclass(frozen=True, slots=True)
class CommandResult:
    exit_code: int
    out: str
    err: str


async def laurel(*arguments: str, **environment: str) -> CommandResult:
    """Run the command line in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "cli.py"),
        *arguments,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return CommandResult(process.returncode or 0, out.decode(), err.decode())


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        "LAUREL_DATABASE_URL": settings.need("database_url"),
        "LAUREL_TON_CONFIG": settings.need("ton_config"),
        "LAUREL_WALLET_MNEMONIC_FILE": settings.need("wallet_mnemonic_file"),
    }


async def test_a_minter_ends_in_order_and_releases_its_leases(
    ton: TonNetwork, world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await world.to_mint()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "cli.py"),
        "minter",
        cwd=ROOT,
        env={**os.environ, **environment_of(settings), "LAUREL_HTTP__ENABLED": "false"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await all_in(world, done, "active/minted")
        lost: list[bytes] = []
        monkeypatch.setattr(ton.chain, "submit", lost.append)
        (badge,) = await world.to_mint()
        await eventually(
            world, lambda: has_task(world, badge, "mint sent"), "a message is under way"
        )
        process.terminate()
        _, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, log.decode()
    assert (
        await world.value("SELECT count(*) FROM nft_mint_queue WHERE lease_token IS NOT NULL") == 0
    )
    assert await world.tasks(badge) == ["mint sent"]


async def test_reconcile_names_and_repairs_and_its_exit_code_tells(
    world: World, settings: Settings
) -> None:
    (badge,) = await world.to_mint()
    async with minting(settings):
        await all_in(world, [badge], "active/minted")
    token_id = await world.value("SELECT onchain_token_id FROM nft_instance")
    environment = environment_of(settings)
    nothing = await laurel("reconcile", **environment)
    assert nothing.exit_code == 0, nothing.err
    assert "1 tokens in 1 collections" in nothing.out
    assert "0 findings, 0 repaired, 0 left." in nothing.out

    await world.sql("UPDATE nft_instance SET onchain_token_id = NULL")
    repaired = await laurel("reconcile", "--repair", "--json", **environment)
    assert repaired.exit_code == 1, repaired.err
    document = json.loads(repaired.out)
    assert (document["tokens"], document["repaired"], document["left"]) == (1, 1, 0)
    (finding,) = document["findings"]
    assert (finding["finding"], finding["instance_id"], finding["token_id"], finding["repair"]) == (
        "lost id",
        str(badge.id),
        token_id,
        "restored",
    )


async def test_a_scripts_output_is_one_line_and_its_metrics_outlive_a_run_that_fails(
    ton: TonNetwork, world: World, settings: Settings, tmp_path: Path
) -> None:
    async with minting(settings):
        await all_in(world, await world.to_mint(), "active/minted")
    # Minting is shut, and opens by the repair: a line of the log in a process that stays.
    await world.sql(
        "UPDATE chain_wallet SET shut_reason = 'a test', shut_until = '2026-01-01',"
        " shut_needs_repair = true"
    )
    await world.sql("UPDATE nft_instance SET onchain_token_id = NULL")
    file = tmp_path / "laurel.prom"
    environment = {**environment_of(settings), "LAUREL_METRICS_TEXTFILE": str(file)}
    found = await laurel("reconcile", "--repair", "--json", **environment)
    assert (found.exit_code, found.err) == (1, "")
    assert json.loads(found.out)["repaired"] == 1
    assert await world.value("SELECT shut_reason FROM chain_wallet") is None

    def written(sample: str) -> float:
        (line,) = [line for line in file.read_text().splitlines() if line.startswith(sample)]
        return float(line.rpartition(" ")[2])

    last, lost = LAST_SUCCESS, 'laurel_reconcile_findings{finding="lost_id"}'
    succeeded_at = written(last)
    assert succeeded_at == pytest.approx(time.time(), abs=600)
    assert written(lost) == 1
    elsewhere = {"LAUREL_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    failed = await laurel("reconcile", "--json", **environment | elsewhere)
    assert (failed.exit_code, failed.out) == (1, "")
    (said,) = failed.err.splitlines()
    assert json.loads(said)["error"] == "database_unreachable"
    assert (written(last), written(lost)) == (succeeded_at, 1)
    assert written('laurel_errors_total{code="database_unreachable"}') == 1
    again = await laurel("reconcile", **environment)
    assert (again.exit_code, again.err) == (0, "")
    assert written(last) > succeeded_at
    assert written(lost) == 0


async def test_a_minter_tells_what_it_did_in_one_line_for_all_messages(
    world: World, settings: Settings
) -> None:
    done = await world.to_mint(3)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "cli.py"),
        "minter",
        cwd=ROOT,
        env={**os.environ, **environment_of(settings), "LAUREL_HTTP__ENABLED": "false"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await all_in(world, done, "active/minted")
    finally:
        process.terminate()
        out, log = await process.communicate()
    assert (process.returncode, out) == (0, b"")
    lines = [json.loads(line) for line in log.decode().splitlines()]
    of_each = {"message_signed", "message_sent", "tasks_settled", "held_tasks_freed"}
    assert {line["event"] for line in lines if line["level"] == "info"}.isdisjoint(of_each)
    told = [line for line in lines if line["event"] == "mint_steps_taken"]
    assert {name: sum(line[name] for line in told) for name in ("tasks", "confirmed")} == {
        "tasks": 3,
        "confirmed": 3,
    }


async def test_unknown_tokens_are_accepted_by_a_repair_only(settings: Settings) -> None:
    said = await laurel("reconcile", "--accept-unknown", **environment_of(settings))
    assert (said.exit_code, said.out) == (2, "")
    assert "--repair" in said.err


async def test_a_repair_must_know_where_unknown_collections_lie_and_a_look_need_not(
    ton: TonNetwork, settings: Settings, tmp_path: Path, world: World
) -> None:
    config = dict(ton.config)
    del config["laurel_local_network"]  # it brings an address for metadata along
    path = tmp_path / "another.config.json"
    path.write_text(json.dumps(config))
    environment = {**environment_of(settings), "LAUREL_TON_CONFIG": str(path)}
    assert (await laurel("reconcile", **environment)).exit_code == 0
    said = await laurel("reconcile", "--repair", **environment)
    assert (said.exit_code, said.out) == (2, "")
    assert "LAUREL_METADATA_BASE_URL is not set" in said.err


async def test_a_database_without_tables_is_an_error_of_usage(
    settings: Settings, world: World
) -> None:
    await world.sql("DROP TABLE alembic_version")
    said = await laurel("reconcile", **environment_of(settings))
    assert (said.exit_code, said.out) == (2, "")
    assert "Run `laurel db upgrade`" in said.err


async def test_the_wallet_is_shown_as_one_pays_to_it(
    ton: TonNetwork, world: World, settings: Settings
) -> None:
    """UQ... while there is no contract to return a payment, EQ... once there is."""
    fresh = await laurel("wallet", "show", **environment_of(settings))
    assert fresh.exit_code == 0, fresh.err
    pay_to, raw, network, balance, enough, deployed = fresh.out.splitlines()
    assert re.fullmatch(r"pay to    UQ[\w-]{46}", pay_to)
    address = Address(pay_to.split()[-1]).to_str(is_user_friendly=False)
    assert raw.split() == ["raw", address]
    assert network.split() == ["network", zero_state_hash(ton.config).hex()]
    assert balance.startswith("balance   100 Grams at block ")
    assert enough == "enough    for 4,489 mints, beside the reserve of 1 Grams"
    assert deployed == "deployed  no: its first message does it"

    async with minting(settings):
        await all_in(world, await world.to_mint(), "active/minted")
    after = json.loads((await laurel("wallet", "show", "--json", **environment_of(settings))).out)
    assert (after["pay_to"][:2], after["address"], after["deployed"]) == ("EQ", address, True)
    assert after["mints"] < 4_489


async def test_an_empty_wallet_says_what_to_send_it(ton: TonNetwork, mnemonic_file: Path) -> None:
    environment = {
        "LAUREL_TON_CONFIG": str(ton.config_path),
        "LAUREL_WALLET_MNEMONIC_FILE": str(mnemonic_file),
    }
    shown = await laurel("wallet", "show", **environment)
    assert shown.out.splitlines()[-1] == "to do     send it 11 Grams or more"
    other = await laurel("wallet", "show", **environment, LAUREL_MINTER__BALANCE_RESERVE="2.5")
    assert other.out.splitlines()[-1] == "to do     send it 12.5 Grams or more"


async def test_a_wallet_whose_network_is_silent_is_shown_and_the_exit_code_tells(
    ton: TonNetwork, tmp_path: Path, mnemonic_file: Path
) -> None:
    config = {**ton.config, "liteservers": [{**ton.config["liteservers"][0], "port": 1}]}
    path = tmp_path / "silent.json"
    path.write_text(json.dumps(config))
    shown = await laurel(
        "wallet",
        "show",
        "--json",
        LAUREL_TON_CONFIG=str(path),
        LAUREL_WALLET_MNEMONIC_FILE=str(mnemonic_file),
    )
    assert shown.exit_code == 1
    document = json.loads(shown.out)
    assert document["pay_to"].startswith("UQ")
    assert document["error"]
    assert "balance_nano" not in document


async def test_a_new_wallet_can_be_shown_and_is_never_overwritten(
    ton: TonNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "wallet.words"
    made = await laurel("wallet", "new", str(path), "--json")
    assert made.exit_code == 0, made.err
    shown = await laurel(
        "wallet",
        "show",
        "--json",
        LAUREL_WALLET_MNEMONIC_FILE=str(path),
        LAUREL_TON_CONFIG=str(ton.config_path),
    )
    assert json.loads(shown.out)["public_key"] == json.loads(made.out)["public_key"]
    again = await laurel("wallet", "new", str(path))
    assert again.exit_code == 2
    assert "never overwritten" in again.err


async def test_half_a_wallet_is_no_wallet(tmp_path: Path) -> None:
    path = tmp_path / "wallet.words"
    # As a full disk: the file can be made, and nothing be written to it.
    line = f'ulimit -f 0; exec "{sys.executable}" -m cli wallet new "{path}"'
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", line, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert (process.returncode, path.exists()) == (2, False)
    assert said.decode() == f"laurel: {path} cannot be written: File too large.\n"


A_KEY = "radeh+usHwp7BXQNbrAAeF0cui0Yyet+m6N+zRnjxYI="
A_SERVER = {"ip": 1, "port": 1, "id": {"@type": "pub.ed25519", "key": A_KEY}}


def of_servers(*servers: object) -> str:
    """Return a network's config with these lite servers."""
    zero_state = {"zero_state": {"root_hash": A_KEY}}
    return json.dumps({"liteservers": servers, "validator": zero_state})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no json", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("{}", "no global config"),
        (
            '{"liteservers": [], "validator": {"zero_state": {"root_hash": "AA=="}}}',
            "no lite servers, or no zero state",
        ),
        (
            '{"liteservers": [1], "validator": {"zero_state": {"root_hash": "%s"}}}'
            % ("A" * 43 + "="),
            "no zero state",
        ),
        *(
            (of_servers(A_SERVER, {**A_SERVER, **wrong}), "lite server 2 of 2 lacks an ip, a port")
            for wrong in (
                {"ip": None},
                {"ip": "127.0.0.1"},
                {"ip": 2**32},
                {"ip": 1.5},
                {"port": True},
                {"port": 0},
                {"port": 2**16},
                {"id": {"@type": "pub.ed25519", "key": "AAAA"}},
                {"id": {"@type": "pub.ed25519", "key": "*"}},
                {"id": {"@type": "pub.aes", "key": A_KEY}},
            )
        ),
        (of_servers(1), "lite server 1 of 1 lacks an ip, a port"),
    ],
)
def test_a_broken_network_config_is_an_error_of_usage(
    text: str, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert str(path) in caught.value.message
    assert complaint in caught.value.message


def test_numbers_in_a_network_config_may_be_strings_and_negative(tmp_path: Path) -> None:
    """As tonlib takes them; an address is a signed number in most."""
    path = tmp_path / "config.json"
    path.write_text(of_servers({**A_SERVER, "ip": "-1062731776", "port": "443"}))
    (server,) = read_config(path)["liteservers"]
    assert place(server) == "192.168.0.0:443"


@pytest.mark.parametrize("setting", ["LAUREL_TON_CONFIG", "LAUREL_WALLET_MNEMONIC_FILE"])
@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
async def test_what_never_ends_is_not_read(
    kind: str, setting: str, ton: TonNetwork, tmp_path: Path, mnemonic_file: Path
) -> None:
    """Neither a pipe that nobody writes to, nor a device without an end."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    named = {"pipe": tmp_path / "pipe", "directory": tmp_path, "device": Path("/dev/zero")}[kind]
    files = {
        "LAUREL_TON_CONFIG": str(ton.config_path),
        "LAUREL_WALLET_MNEMONIC_FILE": str(mnemonic_file),
    }
    said = await laurel("wallet", "show", **{**files, setting: str(named)})
    assert said.exit_code == 2
    assert str(named) in said.err

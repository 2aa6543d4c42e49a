"""The network as a process: found, paid from, moved in time, and gone with its owner."""

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ops.errors import UsageError
from sandbox.ports import answers, reserved
from sandbox.process import PartFailed
from sandbox.ton.chain import ChainOptions
from sandbox.ton.network import TonOptions
from sandbox.ton.process import AdminFailed, TonProcess, ton_network
from sandbox.ton.runner import arguments, parsed
from tests.sandbox.owner import REPOSITORY, an_owner, is_running, wait_until_gone
from tests.sandbox.ton.chains import OWNER
from tests.sandbox.ton.client import connected
from tests.sandbox.ton.contracts import GRAM

pytestmark = pytest.mark.usefixtures("virtual_machine")


async def test_pytonlib_reads_what_the_faucet_of_the_process_paid(
    ton_process: TonProcess, tmp_path: Path
) -> None:
    await ton_process.fund(str(OWNER), 3 * GRAM)
    async with connected(ton_process.config, tmp_path / "keystore") as client:
        state = await client.raw_get_account_state(str(OWNER))
    assert int(state["balance"]) == 3 * GRAM


async def test_many_pay_at_once(ton_process: TonProcess) -> None:
    before = (await ton_process.status()).transactions
    await asyncio.gather(*(ton_process.fund(f"0:{number:064x}", GRAM) for number in range(1, 11)))
    assert (await ton_process.status()).transactions == before + 20


async def test_time_is_advanced_from_outside(ton_process: TonProcess) -> None:
    before = await ton_process.status()
    after = await ton_process.advance(timedelta(hours=1))
    assert after.utime >= before.utime + 3_600
    assert after.seqno > before.seqno
    assert after.zero_state == before.zero_state


async def test_a_block_is_made_from_outside(tmp_path: Path) -> None:
    with ton_network(tmp_path, options=TonOptions(block_interval=None)) as process:
        before = await process.status()
        after = await process.produce()
    assert after.seqno == before.seqno + 1


@pytest.mark.parametrize(("address", "amount"), [("nonsense", GRAM), (str(OWNER), -5)])
async def test_an_impossible_payment_is_refused(
    ton_process: TonProcess, address: str, amount: int
) -> None:
    with pytest.raises(UsageError):
        await ton_process.fund(address, amount)


async def test_a_clock_that_would_go_back_is_refused(ton_process: TonProcess) -> None:
    with pytest.raises(UsageError, match="forward only"):
        await ton_process.advance(timedelta(seconds=-1))


async def test_an_empty_faucet_is_told(ton_process: TonProcess) -> None:
    with pytest.raises(AdminFailed, match="less than"):
        await ton_process.fund(str(OWNER), 10**18)


async def test_a_process_that_is_gone_is_told(tmp_path: Path) -> None:
    with ton_network(tmp_path) as process:
        pass
    with pytest.raises(AdminFailed, match=r"ton\.log"):
        await process.status()


def test_the_ports_are_the_asked_ones(tmp_path: Path) -> None:
    with (
        reserved() as port,
        reserved() as admin_port,
        ton_network(tmp_path, port=port, admin_port=admin_port) as process,
    ):
        assert process.config["liteservers"][0]["port"] == port
        assert process.admin_url == f"http://127.0.0.1:{admin_port}"
        assert answers("127.0.0.1", port)


def test_it_is_gone_at_the_end_of_its_block(tmp_path: Path) -> None:
    with ton_network(tmp_path) as process:
        assert is_running(process.pid)
    assert not is_running(process.pid)


def test_it_is_gone_after_kill_9_of_its_owner(tmp_path: Path) -> None:
    program = """
        import sys, time
        from pathlib import Path
        from sandbox.ton.process import ton_network
        with ton_network(Path(sys.argv[1])) as process:
            print(process.pid, flush=True)
            time.sleep(3600)
    """
    with an_owner(program, tmp_path) as (pid,):
        assert is_running(int(pid))
    wait_until_gone(int(pid))


def test_a_start_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    options = TonOptions(advertised_host="not..a.name")
    with pytest.raises(PartFailed, match="advertised host"), ton_network(tmp_path, options=options):
        pass


def test_a_bad_option_ends_the_command_with_code_2(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sandbox.ton",
        f"--directory={tmp_path}",
        "--block-interval=soon",
    ]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "--block-interval=soon: a number of seconds, or none, is wanted.\n"


@pytest.mark.parametrize("interval", [None, timedelta(milliseconds=250)])
def test_a_command_line_says_the_same_as_the_options(
    tmp_path: Path, interval: timedelta | None
) -> None:
    options = TonOptions(
        chain=ChainOptions(
            seed="a b", transactions_per_block_max=7, state_window=8, user_wallets=9
        ),
        block_interval=interval,
        host="127.0.0.1",
        port=20_001,
        advertised_host="localhost",
        directory=tmp_path,
    )
    assert parsed(arguments(options, tmp_path, 20_001, 20_002, None)) == (options, 20_002)


def test_the_ready_file_names_the_addresses(tmp_path: Path) -> None:
    with ton_network(tmp_path) as process:
        told = json.loads((tmp_path / "network.json").read_text())
    assert told == {"config_path": str(process.config_path), "admin_url": process.admin_url}

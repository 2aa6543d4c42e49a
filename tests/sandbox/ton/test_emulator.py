import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.errors import UsageError
from sandbox.process import PartMissing
from sandbox.ton import emulator as module
from sandbox.ton.account_state import (
    ABSENT,
    AccountState,
    AccountStatus,
    genesis_account,
    read_account,
)
from sandbox.ton.boc import from_boc, to_boc
from sandbox.ton.cells import Address, Builder, Cell
from sandbox.ton.config import TODAY, network_config
from sandbox.ton.emulator import (
    Emulator,
    Executed,
    NotAccepted,
    Outcome,
    decoded,
    encoded,
    find_library,
)
from sandbox.ton.messages import external_message, read_transaction
from tests.sandbox.ton.contracts import GRAM, HighloadWallet

NOW = 1_700_000_000


@pytest.fixture
def machine(virtual_machine: Path) -> Emulator:
    config = network_config(b"\x01" * 32, NOW, (b"\x02" * 32, b"\x03" * 32), TODAY)
    return Emulator(to_boc(config.root), virtual_machine)


def execute(
    machine: Emulator, account: Cell, message: bytes, *, utime: int = NOW, lt: int = 1_000_000
) -> Outcome:
    return machine.execute(
        encoded(to_boc(account)), encoded(message), utime=utime, lt=lt, seed="00" * 32
    )


def funded(wallet: HighloadWallet, nano: int = 10 * GRAM) -> Cell:
    return genesis_account(wallet.address, nano, NOW).end()


def state_after(outcome: Outcome) -> AccountState:
    assert isinstance(outcome, Executed)
    state = read_account(from_boc(decoded(outcome.shard_account)).refs[0])
    assert state is not None
    return state


def test_an_external_message_deploys_a_wallet(machine: Emulator) -> None:
    wallet = HighloadWallet()
    outcome = execute(
        machine, funded(wallet), wallet.external([], query=0, created_at=NOW - 30, deploy=True)
    )
    state = state_after(outcome)
    assert (state.status, state.address) == (AccountStatus.ACTIVE, wallet.address)
    assert state.code is not None


@pytest.mark.parametrize(
    ("created_at", "timeout", "exit_code"),
    [(NOW + 100, 300, 35), (NOW - 1_000, 300, 35), (NOW - 30, 301, 38)],
)
def test_a_contract_says_by_its_exit_code_why_it_refuses(
    machine: Emulator, created_at: int, timeout: int, exit_code: int
) -> None:
    wallet = HighloadWallet()
    message = wallet.external([], query=0, created_at=NOW - 30, deploy=True)
    deployed = execute(machine, funded(wallet), message)
    assert isinstance(deployed, Executed)
    other = HighloadWallet(timeout=timeout)
    refused = execute(
        machine,
        from_boc(decoded(deployed.shard_account)),
        _readdressed(other.external([], query=1, created_at=created_at), wallet.address),
        lt=2_000_000,
    )
    assert refused == NotAccepted("External message not accepted by smart contract", exit_code)


def _readdressed(boc: bytes, address: Address) -> bytes:
    body = from_boc(boc).refs[0]
    return to_boc(external_message(address, body))


def test_a_replayed_message_is_refused(machine: Emulator) -> None:
    wallet = HighloadWallet()
    message = wallet.external([], query=5, created_at=NOW - 30, deploy=True)
    first = execute(machine, funded(wallet), message)
    assert isinstance(first, Executed)
    again = machine.execute(
        first.shard_account, encoded(message), utime=NOW, lt=2_000_000, seed="00" * 32
    )
    assert isinstance(again, NotAccepted)
    assert again.exit_code == 36
    assert str(again).endswith("(exit code 36)")


def test_logical_times_beyond_32_bits_are_kept(machine: Emulator) -> None:
    wallet = HighloadWallet()
    message = wallet.external([], query=0, created_at=NOW - 30, deploy=True)
    outcome = execute(machine, funded(wallet), message, lt=2**40)
    assert isinstance(outcome, Executed)
    assert read_transaction(from_boc(decoded(outcome.transaction))).lt == 2**40


def test_the_same_input_gives_the_same_transaction(machine: Emulator) -> None:
    wallet = HighloadWallet()
    message = wallet.external([], query=0, created_at=NOW - 30, deploy=True)
    assert execute(machine, funded(wallet), message) == execute(machine, funded(wallet), message)


def test_a_message_for_an_account_that_does_not_exist_is_not_accepted(machine: Emulator) -> None:
    message = HighloadWallet().external([], query=0, created_at=NOW - 30)
    assert isinstance(execute(machine, ABSENT.end(), message), NotAccepted)


def test_what_is_no_message_is_refused_with_a_reason(machine: Emulator) -> None:
    outcome = execute(machine, ABSENT.end(), to_boc(Builder().uint(1, 1).end()))
    assert isinstance(outcome, NotAccepted)
    assert outcome.exit_code is None


def test_a_machine_is_given_back_once(machine: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[object] = []
    destroy = machine._library.transaction_emulator_destroy
    monkeypatch.setattr(
        machine, "_library", SimpleNamespace(transaction_emulator_destroy=given_back.append)
    )
    handle = machine._handle
    with machine:
        pass
    machine.close()
    assert given_back == [handle]
    destroy(handle)


def test_the_library_is_found_without_importing_its_package(virtual_machine: Path) -> None:
    assert virtual_machine.name.startswith("libemulator")
    assert "pytvm" not in sys.modules


def test_a_missing_wheel_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    with pytest.raises(PartMissing, match=r"pytvm.*--emulator-library"):
        find_library()


def test_a_library_of_the_users_own_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no libemulator"):
        find_library(tmp_path / "libemulator.so")


def test_a_file_that_is_no_library_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "libemulator.so"
    path.write_text("not a library")
    with pytest.raises(UsageError, match="cannot be loaded"):
        Emulator(b"", path)

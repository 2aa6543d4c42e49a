import pytest

from sandbox.ton.account_state import AccountStatus, balance_nano, genesis_account, read_account
from sandbox.ton.accounts import user_wallet
from sandbox.ton.cells import EMPTY_CELL, Address, Builder, CellError
from sandbox.ton.messages import (
    MessageHead,
    MessageKind,
    external_message,
    internal_message,
    read_head,
)

SOMEBODY = Address(0, b"\x05" * 32)


def test_an_internal_message_is_routed_by_its_head() -> None:
    message = internal_message(SOMEBODY, 10**9, body=EMPTY_CELL, init=EMPTY_CELL)
    assert read_head(message) == MessageHead(MessageKind.INTERNAL, None, SOMEBODY, 0)


def test_an_external_message_is_routed_by_its_head() -> None:
    message = external_message(Address(-1, b"\x06" * 32), EMPTY_CELL)
    assert read_head(message) == MessageHead(
        MessageKind.EXTERNAL_IN, None, Address(-1, b"\x06" * 32), 0
    )


def test_an_external_message_may_name_an_external_source() -> None:
    message = (
        Builder()
        .uint(0b10, 2)
        .uint(0b01, 2)
        .uint(5, 9)
        .uint(17, 5)
        .address(SOMEBODY)
        .coins(0)
        .uint(0, 2)
        .end()
    )
    assert read_head(message).destination == SOMEBODY


def test_a_message_to_the_outside_has_no_destination_here() -> None:
    message = Builder().uint(0b11, 2).address(SOMEBODY).uint(0, 2).end()
    assert read_head(message) == MessageHead(MessageKind.EXTERNAL_OUT, SOMEBODY, None, 0)


def test_an_anycast_address_is_refused() -> None:
    message = Builder().uint(0b10, 2).uint(0, 2).uint(0b101, 3).uint(0, 300).end()
    with pytest.raises(CellError, match="anycast"):
        read_head(message)


def test_a_genesis_account_is_read_back() -> None:
    account = genesis_account(SOMEBODY, 123, 1_700_000_000).refs[0]
    state = read_account(account)
    assert state is not None
    assert (state.address, state.balance_nano, state.status) == (
        SOMEBODY,
        123,
        AccountStatus.UNINITIALISED,
    )
    assert balance_nano(account) == 123


def test_an_account_with_a_state_is_active_from_the_start() -> None:
    wallet = user_wallet(0)
    state = read_account(genesis_account(wallet.address, 1, 1_700_000_000, wallet.init).refs[0])
    assert state is not None
    assert state.status is AccountStatus.ACTIVE
    assert (state.code, state.data) == (wallet.init.refs[0], wallet.init.refs[1])


def test_an_account_that_does_not_exist_is_none() -> None:
    assert read_account(Builder().uint(0, 1).end()) is None
    assert balance_nano(Builder().uint(0, 1).end()) == 0

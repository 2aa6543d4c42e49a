"""Accounts as the shard's state holds them (TL-B `ShardAccount`, `Account`, `AccountStorage`).

Read, and made for the genesis.
"""

from dataclasses import dataclass
from enum import Enum

from sandbox.ton.cells import Address, Builder, Cell

# account_none$0, never transacted: what the virtual machine is given for an address that the state
# does not hold.
ABSENT = Builder().ref(Builder().uint(0, 1).end()).uint(0, 256).uint(0, 64)


class AccountStatus(Enum):
    """What an account is."""

    UNINITIALISED = "uninit"
    FROZEN = "frozen"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class AccountState:
    """An existing account; code and data are there when it is active."""

    address: Address
    balance_nano: int
    last_lt: int
    status: AccountStatus
    code: Cell | None
    data: Cell | None


def read_account(cell: Cell) -> AccountState | None:
    """Read an `Account`; None for one that does not exist.

    Raises:
        CellError: it is no account of this network.
    """
    reader = cell.begin()
    if not reader.flag():
        return None
    address = reader.address()
    if address is None:
        return None
    reader.var_uint(3)  # cells
    reader.var_uint(3)  # bits
    if reader.uint(3) == 1:  # storage_extra_info: a dictionary's hash, in newer layouts
        reader.skip(256)
    reader.skip(32)  # last paid
    if reader.flag():
        reader.coins()  # due payment
    last_lt, balance = reader.uint(64), reader.coins()
    reader.maybe_ref()  # extra currencies
    if not reader.flag():
        status = AccountStatus.FROZEN if reader.flag() else AccountStatus.UNINITIALISED
        return AccountState(address, balance, last_lt, status, None, None)
    if reader.flag():
        reader.skip(5)
    if reader.flag():
        reader.skip(2)
    return AccountState(
        address, balance, last_lt, AccountStatus.ACTIVE, reader.maybe_ref(), reader.maybe_ref()
    )


def balance_nano(account: Cell) -> int:
    """Return the balance of an `Account`, 0 for one that does not exist."""
    state = read_account(account)
    return 0 if state is None else state.balance_nano


def genesis_account(
    address: Address, balance: int, utime: int, init: Cell | None = None
) -> Builder:
    """Return the `ShardAccount` of an account that exists from the start.

    Args:
        address: where.
        balance: in nanograms.
        utime: the zero state's time: until then its rent is paid.
        init: its `StateInit`; None leaves it uninitialised, to be deployed by its first message.
    """
    storage = Builder().uint(0, 64).currencies(balance)
    if init is None:
        storage.uint(0, 2)
    else:
        storage.uint(1, 1).append(init)
    cells, bits = _size(storage.end())
    account = Builder().uint(1, 1).address(address).var_uint(cells, 3).var_uint(bits, 3).uint(0, 3)
    account.uint(utime, 32).uint(0, 1).append(storage)
    return Builder().ref(account.end()).uint(0, 256).uint(0, 64)


def _size(root: Cell) -> tuple[int, int]:
    """Return how many different cells a tree has, and their bits: what rent is paid for."""
    seen: dict[bytes, int] = {}
    stack = [root]
    while stack:
        cell = stack.pop()
        if cell.hash not in seen:
            seen[cell.hash] = cell.bits
            stack.extend(cell.refs)
    return len(seen), sum(seen.values())

"""Messages and transactions.

How a wallet writes the former, and how the network reads both (TL-B `Message`, `Transaction`).
"""

from dataclasses import dataclass
from enum import Enum

from sandbox.ton.cells import Address, Builder, Cell
from sandbox.ton.dictionaries import read_dictionary

# Validators refuse larger ones; libemulator does not look (block.tlb size_limits_config:
# max_ext_msg_size, max_ext_msg_depth).
EXTERNAL_BYTES_MAX = 65_535
EXTERNAL_DEPTH_MAX = 512


class MessageKind(Enum):
    """Which of the three heads a message has."""

    INTERNAL = "internal"
    EXTERNAL_IN = "external in"
    EXTERNAL_OUT = "external out"


@dataclass(frozen=True, slots=True)
class MessageHead:
    """What routing needs.

    `destination` is None for messages to the outside, `created_lt` 0 for those from there.
    """

    kind: MessageKind
    source: Address | None
    destination: Address | None
    created_lt: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction as read from its cell. `lt` is its logical time.

    Those of its messages out follow it one by one.
    """

    cell: Cell
    account: bytes
    lt: int
    previous_hash: bytes
    previous_lt: int
    utime: int
    in_message: Cell | None
    out_messages: tuple[Cell, ...]
    total_fees_nano: int

    @property
    def end_lt(self) -> int:
        """Return the first logical time after it."""
        return self.lt + len(self.out_messages) + 1


def state_init(code: Cell, data: Cell) -> Cell:
    """Return a contract's first state; its hash is the contract's account id."""
    return Builder().uint(0, 2).maybe_ref(code).maybe_ref(data).uint(0, 1).end()


def internal_message(
    destination: Address,
    amount_nano: int,
    *,
    body: Cell | None = None,
    init: Cell | None = None,
    bounce: bool = True,
) -> Cell:
    """Return a message for a contract to send; source, fees and times are filled in when it does.

    Args:
        destination: the receiving account.
        amount_nano: what it carries.
        body: its content.
        init: the state that deploys the destination.
        bounce: return the amount if the destination fails.
    """
    builder = (
        Builder().uint(0, 1).flag(True).flag(bounce).flag(False).address(None).address(destination)
    )
    builder.currencies(amount_nano).coins(0).coins(0).uint(0, 64).uint(0, 32)
    return _ended(builder, body, init)


def external_message(destination: Address, body: Cell, init: Cell | None = None) -> Cell:
    """Return a message from outside, to be sent as a bag of cells."""
    return _ended(Builder().uint(0b10, 2).address(None).address(destination).coins(0), body, init)


def _ended(builder: Builder, body: Cell | None, init: Cell | None) -> Cell:
    if init is None:
        builder.uint(0, 1)
    else:
        builder.uint(0b11, 2).ref(init)
    return builder.maybe_ref(body).end()


def read_head(message: Cell) -> MessageHead:
    """Read who a message is from and for.

    Raises:
        CellError: it is no message, or has an address that this network does not know (external,
            anycast).
    """
    reader = message.begin()
    if not reader.flag():
        reader.skip(3)
        source, destination = reader.address(), reader.address()
        reader.coins()
        reader.maybe_ref()
        reader.coins()
        reader.coins()
        return MessageHead(MessageKind.INTERNAL, source, destination, reader.uint(64))
    if reader.flag():  # to the outside; the address there is external, or none
        return MessageHead(MessageKind.EXTERNAL_OUT, reader.address(), None, 0)
    if reader.uint(2) == 0b01:  # from an external address
        reader.skip(reader.uint(9))
    return MessageHead(MessageKind.EXTERNAL_IN, None, reader.address(), 0)


def read_transaction(cell: Cell) -> Transaction:
    """Read a transaction.

    Raises:
        CellError: it is none.
    """
    reader = cell.begin().skip(4)
    account, lt = reader.raw(32), reader.uint(64)
    previous_hash, previous_lt = reader.raw(32), reader.uint(64)
    utime = reader.uint(32)
    reader.skip(15 + 2 + 2)  # number of messages out, status before and after
    messages = reader.ref().begin()
    in_message, out_root = messages.maybe_ref(), messages.maybe_ref()
    out = read_dictionary(out_root, 15)
    return Transaction(
        cell=cell,
        account=account,
        lt=lt,
        previous_hash=previous_hash,
        previous_lt=previous_lt,
        utime=utime,
        in_message=in_message,
        out_messages=tuple(out[index].refs[0] for index in sorted(out)),
        total_fees_nano=reader.coins(),
    )

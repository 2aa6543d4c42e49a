"""Wallets that the network brings along.

The faucet, and users who can act on chain with keys of their own.

Keys are derived from the network's seed, so that every process that knows the seed holds them. They
are worth nothing anywhere else.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from nacl.signing import SigningKey
from ton_core.contrib.contracts.codes import CONTRACT_CODES
from ton_core.contrib.contracts.versions import ContractVersion

from sandbox.ton.boc import from_boc, to_boc
from sandbox.ton.cells import Address, Builder, Cell
from sandbox.ton.messages import external_message, internal_message, state_init

DEFAULT_SEED = "laurel"
_WALLET_ID = 698_983_191  # the subwallet id that every TON wallet takes for the basechain
_FAUCET_SUBWALLET = 0xFACE
_FAUCET_TIMEOUT_SECONDS = 3_600
_PAY_FEES_SEPARATELY = 1
_IGNORE_ERRORS = 2


def derived_key(seed: str, role: str) -> SigningKey:
    """Return the Ed25519 key of `role` in the network of `seed`.

    Roles are "validator", "lite server", "faucet", "user 7".
    """
    return SigningKey(sha256(f"laurel local ton network\0{seed}\0{role}".encode()).digest())


@cache
def _code(version: ContractVersion) -> Cell:
    return from_boc(bytes.fromhex(CONTRACT_CODES[version]))


def _signed(key: SigningKey, body: Builder) -> Cell:
    signature = key.sign(body.end().hash).signature
    return Builder().raw(signature).append(body).end()


@dataclass(frozen=True, slots=True)
class UserWallet:
    """A wallet (version 3, revision 2) of one user; made by `user_wallet`."""

    key: SigningKey
    init: Cell

    @property
    def address(self) -> Address:
        """Return where the wallet is, or will be once its first message has deployed it."""
        return Address(0, self.init.hash)

    def transfer(
        self,
        destination: Address,
        amount_nano: int,
        body: Cell | None = None,
        *,
        seqno: int,
        valid_until: int,
        bounce: bool = True,
    ) -> bytes:
        """Return a signed external message that makes the wallet send one internal message.

        It comes as a bag of cells.

        Args:
            destination: who gets it.
            amount_nano: what it carries; the fee comes on top.
            body: its content, for example `destroy` of an SBT item.
            seqno: how many messages this wallet has executed; 0 also deploys it.
            valid_until: chain time, Unix seconds, after which the wallet refuses it.
            bounce: return the amount if the destination fails.
        """
        message = internal_message(destination, amount_nano, body=body, bounce=bounce)
        order = Builder().uint(_WALLET_ID, 32).uint(valid_until, 32).uint(seqno, 32)
        order.uint(_PAY_FEES_SEPARATELY | _IGNORE_ERRORS, 8).ref(message)
        return to_boc(
            external_message(
                self.address, _signed(self.key, order), self.init if seqno == 0 else None
            )
        )


def user_wallet(index: int, seed: str = DEFAULT_SEED) -> UserWallet:
    """Return the wallet of user `index` in the network of `seed`.

    The first `user_wallets` of them have money from the genesis.
    """
    key = derived_key(seed, f"user {index}")
    data = Builder().uint(0, 32).uint(_WALLET_ID, 32).raw(bytes(key.verify_key)).end()
    return UserWallet(key, state_init(_code(ContractVersion.WalletV3R2), data))


@dataclass(frozen=True, slots=True)
class Faucet:
    """A highload wallet (version 3) with the network's supply.

    Its payments need no order among themselves.
    """

    key: SigningKey
    init: Cell

    @property
    def address(self) -> Address:
        """Return where it is."""
        return Address(0, self.init.hash)

    def payment(
        self, destination: Address, amount_nano: int, *, query: int, created_at: int
    ) -> bytes:
        """Return a signed external message that pays, as a bag of cells.

        Args:
            destination: who gets it; a bounce is not asked for, since most are not deployed yet.
            amount_nano: what arrives, fees apart.
            query: 0, 1, 2, ...: each is executed once.
            created_at: chain time, Unix seconds, in the past.
        """
        # A query id is 13 bits of shift and 10 of bit number, and the last bit number (1023) does
        # not exist.
        shift, bit = divmod(query, 1023)
        order = (
            Builder()
            .uint(_FAUCET_SUBWALLET, 32)
            .ref(internal_message(destination, amount_nano, bounce=False))
        )
        order.uint(_PAY_FEES_SEPARATELY, 8).uint(shift, 13).uint(bit, 10).uint(created_at, 64)
        inner = order.uint(_FAUCET_TIMEOUT_SECONDS, 22).end()
        body = Builder().raw(self.key.sign(inner.hash).signature).ref(inner).end()
        return to_boc(external_message(self.address, body))


def faucet(seed: str = DEFAULT_SEED) -> Faucet:
    """Return the faucet of the network of `seed`."""
    key = derived_key(seed, "faucet")
    data = Builder().raw(bytes(key.verify_key)).uint(_FAUCET_SUBWALLET, 32).uint(0, 2).uint(0, 64)
    data.uint(_FAUCET_TIMEOUT_SECONDS, 22)
    return Faucet(key, state_init(_code(ContractVersion.WalletHighloadV3R1), data.end()))

"""The travellers' wallets: keys that follow from the seed, so that the demo can act as any owner.

An address is that of a wallet contract (v4r2) that nobody has deployed yet, as most addresses are when people link them.
"""

import base64
import hashlib
from binascii import crc_hqx
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tonutils.clients.protocol import ClientProtocol

_BOUNCEABLE = 0x11  # the tag of a user-friendly address that asks for bounces (TEP-2)


def private_key(seed: int, traveller: int, wallet: int = 0) -> bytes:
    """Return the Ed25519 key (32 bytes) of a traveller's wallet; `wallet` 0 is the one that counts, 1 the one they had before."""
    return hashlib.sha256(f"laurel demo {seed} {traveller} {wallet}".encode()).digest()


def address(seed: int, traveller: int, wallet: int = 0) -> str:
    """Return the raw address (`0:` and 64 hex digits) of a traveller's wallet."""
    from ton_core import PrivateKey
    from tonutils.contracts.wallet import WalletV4R2

    offline = cast("ClientProtocol", None)  # an address follows from the key alone; no network is asked
    contract = WalletV4R2.from_private_key(offline, PrivateKey(private_key(seed, traveller, wallet)))
    return str(contract.address.to_str(is_user_friendly=False))


def friendly(raw: str) -> str:
    """Return the user-friendly form of a raw address: tag, workchain, hash and CRC-16/XMODEM in URL-safe base64 (TEP-2)."""
    workchain, _, account = raw.partition(":")
    body = bytes([_BOUNCEABLE, int(workchain) & 0xFF]) + bytes.fromhex(account)
    return base64.urlsafe_b64encode(body + crc_hqx(body, 0).to_bytes(2, "big")).decode()


def raw(written: str) -> str | None:
    """Return the raw form of an address of workchain 0 in either form, None if it is none."""
    workchain, colon, account = written.partition(":")
    if colon:
        return f"0:{account.lower()}" if workchain == "0" and _is_account(account) else None
    try:
        found = base64.b64decode(written.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        return None
    if len(found) != 36 or crc_hqx(found[:34], 0) != int.from_bytes(found[34:], "big") or found[1] != 0:
        return None
    return f"0:{found[2:34].hex()}"


def _is_account(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in text)

"""The travellers' wallet addresses, in the forms in which people write them.

They are the local network's users, whose keys everybody knows: the demo can act as any owner.

An address is that of a wallet contract that nobody has deployed yet, as most addresses are when
people link them.
"""

import base64
from binascii import crc_hqx

# The tag of a user-friendly address that asks for bounces (TEP-2).
_BOUNCEABLE = 0x11
# Added to a traveller's number: the wallet they had before.
_FORMER = 1_000_000


def user_index(traveller: int, *, former: bool = False) -> int:
    """Return which user of the local network (sandbox/ton/accounts.py) a traveller is."""
    return traveller + (_FORMER if former else 0)


def address(traveller: int, *, former: bool = False) -> str:
    """Return the raw address of a traveller's wallet, or of the former one.

    Raw: `0:` and 64 hex digits.
    """
    from sandbox.ton.accounts import user_wallet

    return str(user_wallet(user_index(traveller, former=former)).address)


def friendly(raw: str) -> str:
    """Return the user-friendly form of a raw address.

    Tag, workchain, hash and CRC-16/XMODEM in URL-safe base64 (TEP-2).
    """
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
    if (
        len(found) != 36
        or crc_hqx(found[:34], 0) != int.from_bytes(found[34:], "big")
        or found[1] != 0
    ):
        return None
    return f"0:{found[2:34].hex()}"


def _is_account(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in text)

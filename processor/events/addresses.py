"""TON addresses as people write them, in the one form that Laurel stores.

A wallet event brings an address in raw form (`0:64 hex digits`) or in the user-friendly form of
TEP-2: 36 bytes in base64 or base64url, that is flags, workchain, account hash and a CRC-16 over the
first 34. Pure.
"""

import re
from base64 import urlsafe_b64decode
from binascii import crc_hqx

from store.values.names import RawAddress

_RAW = re.compile(r"(-?[0-9]{1,3}):([0-9a-fA-F]{64})")
_FRIENDLY = re.compile(r"[A-Za-z0-9_/+-]{48}")
_BOUNCEABLE, _NON_BOUNCEABLE, _TEST_ONLY = 0x11, 0x51, 0x80  # TEP-2, the first byte
_BASECHAIN = 0


def normalised(address: str) -> RawAddress:
    """Return `address` in raw form, lower case.

    Raises:
        ValueError: it is no TON address, its checksum is wrong, or it is on another workchain than
            0, where no wallet lives.
    """
    match = _RAW.fullmatch(address)
    workchain, account = (int(match[1]), match[2].lower()) if match else _unpacked(address)
    if workchain != _BASECHAIN:
        raise ValueError(f"the address is on workchain {workchain}; wallets live on workchain 0")
    return RawAddress(f"{workchain}:{account}")


def is_test_only(address: str) -> bool:
    """Return whether the form of an address, which `normalised` takes, is for test networks only.

    The raw form does not say.
    """
    return not _RAW.fullmatch(address) and bool(_packed(address)[0] & _TEST_ONLY)


def _packed(address: str) -> bytes:
    # 48 characters of either alphabet always decode, to 36 bytes.
    return urlsafe_b64decode(address.replace("+", "-").replace("/", "_"))


def _unpacked(address: str) -> tuple[int, str]:
    if not _FRIENDLY.fullmatch(address):
        raise ValueError("neither 0:hex nor 48 characters of base64")
    packed = _packed(address)
    if crc_hqx(packed[:34], 0) != int.from_bytes(packed[34:], "big"):
        raise ValueError("the checksum does not match: a character is wrong")
    if packed[0] & ~_TEST_ONLY not in (_BOUNCEABLE, _NON_BOUNCEABLE):
        raise ValueError(f"the first byte is {packed[0]:#04x}, which is no address")
    return int.from_bytes(packed[1:2], "big", signed=True), packed[2:34].hex()

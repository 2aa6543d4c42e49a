"""CRC-16/XMODEM under the name that pytonlib imports.

The published `crc16` is a C extension without wheels: it would make a compiler a prerequisite of Laurel. `binascii.crc_hqx` of the
standard library is the same checksum (polynomial 0x1021, initial value 0, not reflected).
"""

from binascii import crc_hqx


def crc16xmodem(data: bytes, crc: int = 0) -> int:
    """Return the CRC-16/XMODEM of `data`, continued from `crc`; 0x31C3 for b"123456789"."""
    return crc_hqx(data, crc)

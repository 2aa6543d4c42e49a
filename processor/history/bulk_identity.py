"""Keys and fingerprints of many events at a time, as processor/events/identity.py says."""

from binascii import crc32
from collections.abc import Iterable
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from processor.events.identity import key_of, may_lead_with_time
from processor.events.message_schema import ID_LENGTH_MAX

KEY_BYTES = SUBJECT_BYTES = 16
_HALF = 2**31
# How long an id is, as it is hashed: at most four bytes a character.
_LENGTHS = [b"%d:" % length for length in range(4 * ID_LENGTH_MAX + 1)]


def _changed_by(place: int, byte: int) -> int:
    """Return what a byte at a place changes in the CRC-32 of a subject of zeros."""
    subject = bytearray(SUBJECT_BYTES)
    zeros = crc32(subject)
    subject[place] = byte
    return crc32(subject) ^ zeros


_CHANGES = np.array(
    [[_changed_by(place, byte) for byte in range(256)] for place in range(SUBJECT_BYTES)], np.uint32
)


def keys_of(heads: Iterable[bytes], event_ids: Iterable[str]) -> bytes:
    """Return the keys of events, KEY_BYTES each, one after the other.

    Args:
        heads: `key_head` of each event's tenant and source.
        event_ids: their ids.
    """
    keys: list[bytes] = []
    for head, event_id in zip(heads, event_ids, strict=True):
        if may_lead_with_time(event_id):
            keys.append(bytes.fromhex(key_of(head, event_id)))
        else:
            number = event_id.encode()
            keys.append(sha256(head + _LENGTHS[len(number)] + number).digest()[:KEY_BYTES])
    return b"".join(keys)


def fingerprints_of(heads: NDArray[np.uint32], subjects: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the fingerprints of events.

    A CRC is linear: of bytes that are combined by exclusive or, so are the checksums, but for what
    the beginning adds, which depends on the length alone.

    Args:
        heads: `fingerprint_head` of each event's type.
        subjects: SUBJECT_BYTES of each in a row.
    """
    found, which = np.unique(heads, return_inverse=True)
    zeros = bytes(SUBJECT_BYTES)
    checksums = np.array([crc32(zeros, int(head)) for head in found], np.uint32)[which]
    for place in range(SUBJECT_BYTES):
        checksums ^= _CHANGES[place][subjects[:, place]]
    signed = (checksums.astype(np.int64) - _HALF).astype(np.int32)
    return np.where(signed == 0, np.int32(1), signed)

"""JSON both ways without losing a digit.

Decimals are numbers in the text and Decimal in Python, never float.

A jsonb column is read as text (`CAST(counters AS text)`): the driver's own JSON would make floats
(docs/adr/0012-exact-numbers.md).
"""

from decimal import Decimal

import msgspec

from store.values import CounterName

_ENCODER = msgspec.json.Encoder(decimal_format="number", order="sorted")
_COUNTERS = msgspec.json.Decoder(dict[str, int | Decimal], float_hook=Decimal)
_OBJECT = msgspec.json.Decoder(dict[str, object], float_hook=Decimal)


def dumped(value: object) -> str:
    """Return `value` as JSON, keys sorted and without spaces.

    Takes records, enums, UUIDs and instants too.

    Raises:
        TypeError: it holds something that JSON has no word for.
    """
    return _ENCODER.encode(value).decode()


def counters(document: str) -> dict[CounterName, int | Decimal]:
    """Return nft_progress.counters from its text.

    Raises:
        msgspec.DecodeError: it is no object of numbers.
    """
    return {CounterName(name): value for name, value in _COUNTERS.decode(document).items()}


def mapping(document: str) -> dict[str, object]:
    """Return a JSON object from its text.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _OBJECT.decode(document)

"""JSON both ways without losing a digit.

Every connection reads and writes its json and jsonb columns by these two functions
(store/engine.py), so a number from the database is int or Decimal, never float
(docs/adr/0012-exact-numbers.md). Pure.
"""

from decimal import Decimal

import msgspec

_ENCODER = msgspec.json.Encoder(decimal_format="number", order="sorted")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)


def dumped(value: object) -> str:
    """Return `value` as JSON, keys sorted and without spaces; a Decimal is a number.

    Takes records, enums, UUIDs and instants too.

    Raises:
        TypeError: it holds something that JSON has no word for.
    """
    return _ENCODER.encode(value).decode()


def loaded(document: str | bytes) -> object:
    """Return what a JSON document says: whole numbers are int, others Decimal.

    Raises:
        msgspec.DecodeError: it is no JSON.
    """
    return _DECODER.decode(document)

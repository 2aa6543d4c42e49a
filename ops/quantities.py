"""Durations and amounts as people write them: `30s`, `1h30m`, `0.05`.

Pure: text in, values out. The bounds stand in ops/setting_parts.py.
"""

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
# An age is told in a unit from twice its length on: a minute and a half is 90 s.
_AGES = (("d", 86_400), ("h", 3_600), ("min", 60))
_PARTS = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhd])\s*")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
# PT30S and 0:00:30, which another reader knows.
_ISO = re.compile(r"[+-]?P.|\d+:\d\d", re.IGNORECASE)
_EXAMPLES = "write 500ms, 30s, 5m, 1h30m, 7d or PT30S"
# The coin of TON: 10^9 nanograms. Wallet apps and exchanges still show the older name.
_COINS = re.compile(r"\s*(gram|grams|ton)$", re.IGNORECASE)
NANOGRAMS = Decimal(10) ** 9


def duration(value: object) -> object:
    """Return the timedelta that `value` is text of, or `value` where another reader knows it.

    Known here are numbers with units, the larger first or not: `500ms`, `30s`, `5m`, `1h30m`, `7d`.

    Raises:
        ValueError: a number without a unit, or text that is no duration.
    """
    if isinstance(value, int | float) or (
        isinstance(value, str) and _NUMBER.fullmatch(value.strip())
    ):
        raise ValueError(f"{str(value).strip():.30} has no unit: {_EXAMPLES}")
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    found = _PARTS.findall(text)
    if not found or _PARTS.sub("", text):
        if _ISO.match(text):
            return value
        raise ValueError(f"is no duration: {_EXAMPLES}")
    try:
        return sum((float(number) * _UNITS[unit] for number, unit in found), timedelta())
    except OverflowError:
        raise ValueError("is longer than any duration that can be told") from None


def shown_duration(value: timedelta) -> str:
    """Return `value` as `duration` reads it: `1h30m`; milliseconds are the smallest part."""
    left, parts = value, []
    for unit, length in reversed(_UNITS.items()):
        number, left = divmod(left, length)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def shown_age(value: timedelta | float) -> str:
    """Return an age as people tell it, to its largest unit: `3 s`, `12 min`, `5 h`, `2 d`.

    Args:
        value: a number is seconds.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    for unit, length in _AGES:
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def coins(value: object) -> object:
    """Return the number in `value` without the coin's name: `0.05`, `0.05 Gram`, `0.05 TON`.

    Raises:
        ValueError: it is text, and no number.
    """
    if not isinstance(value, str):
        return value
    number = _COINS.sub("", value.strip())
    try:
        return Decimal(number)
    except InvalidOperation:
        raise ValueError("is no amount: write Grams, as 0.05") from None


def shown_grams(amount_nano: int) -> str:
    """Return an amount in nanograms as people read it, in Grams."""
    return f"{(Decimal(amount_nano) / NANOGRAMS).normalize():f}"


def nanograms(amount: Decimal) -> int:
    """Return an amount of Grams in nanograms."""
    return int(amount * NANOGRAMS)

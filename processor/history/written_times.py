"""Times of RFC 3339 in UTC, many at a time.

Taken is what nearly every producer writes: `2026-01-02T03:04:05`, at most six decimals, then `Z` or
`+00:00`. Everything else is left to the decoder of single events.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000
# "YYYY-MM-DDThh:mm:ss": where digits stand, and what stands between them.
_WHOLE = 19
_SEPARATORS = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":"}
_DIGITS = [place for place in range(_WHOLE) if place not in _SEPARATORS]
_DECIMALS_MAX = 6
_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_FEBRUARY, _MONTHS = 2, 12

Moments = tuple[NDArray[np.int64], NDArray[np.bool_]]


def microseconds(moment: datetime) -> int:
    """Return an instant as microseconds since 1970 in UTC."""
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * _SECOND + passed.microseconds


def parsed(texts: Sequence[str]) -> Moments:
    """Return times as microseconds since 1970 in UTC, and of each whether it is certain."""
    bodies = [_body(text) for text in texts]
    lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
    moments = np.zeros(len(bodies), np.int64)
    certain = np.zeros(len(bodies), np.bool_)
    for length in np.unique(lengths).tolist():
        if length == _WHOLE or _WHOLE + 2 <= length <= _WHOLE + 1 + _DECIMALS_MAX:
            which = np.flatnonzero(lengths == length)
            joined = "".join([bodies[each] for each in which.tolist()])
            moments[which], certain[which] = _of_length(joined.encode("ascii", "replace"), length)
    return moments, certain


def _body(text: str) -> str:
    if text.endswith("Z"):
        return text[:-1]
    return text[:-6] if text.endswith("+00:00") else ""


def _of_length(joined: bytes, length: int) -> Moments:
    characters = np.frombuffer(joined, np.uint8).reshape(-1, length)
    places = [*_DIGITS, *range(_WHOLE + 1, length)]
    digits = characters[:, places].astype(np.int64) - ord("0")
    certain = ((digits >= 0) & (digits <= 9)).all(1)
    separators = _SEPARATORS if length == _WHOLE else {**_SEPARATORS, _WHOLE: "."}
    for place, separator in separators.items():
        certain &= characters[:, place] == ord(separator)
    year, month, day = _number(digits[:, :4]), _number(digits[:, 4:6]), _number(digits[:, 6:8])
    hour, minute, second = (_number(digits[:, at : at + 2]) for at in (8, 10, 12))
    certain &= (year >= 1) & (month >= 1) & (month <= _MONTHS) & (day >= 1)
    certain &= (hour < 24) & (minute < 60) & (second < 60)
    month = np.where(certain, month, 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    certain &= day <= _DAYS[month] + ((month == _FEBRUARY) & leap)
    seconds = ((_days_before(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    decimals = length - _WHOLE - 1
    fraction = _number(digits[:, 14:]) * 10 ** (_DECIMALS_MAX - decimals) if decimals > 0 else 0
    return seconds * _SECOND + fraction, certain


def _number(digits: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.zeros(len(digits), np.int64)
    for column in digits.T:
        found = found * 10 + column
    return found


def _days_before(
    year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return days since 1970-01-01 in the Gregorian calendar.

    The year begins in March, so that the leap day is its last (Howard Hinnant, "chrono-Compatible
    Low-Level Date Algorithms", days_from_civil).
    """
    year = year - (month <= _FEBRUARY)
    era, of_era = year // 400, year % 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468

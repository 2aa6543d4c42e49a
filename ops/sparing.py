"""Let a library say the same thing once a minute.

aiokafka says of a broker that is away that it cannot be reached a hundred times a second, as an
error. What is lost and when it is back has a line of Laurel's own (`kafka_lost`, `kafka_back`).
"""

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

_INTERVAL_S = 60.0
_KEPT_MAX = 1_000


@dataclass(slots=True)
class _Said:
    at: float
    left_out: int = 0


class OnceAMinute:
    """Tells of things that repeat which may be said now.

    Args:
        monotonic: the time.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._said: dict[Hashable, _Said] = {}

    def left_out(self, key: Hashable) -> int | None:
        """Return how often `key` came since it was said last; None: it was within a minute."""
        now, said = self._monotonic(), self._said.get(key)
        if said is not None and now - said.at < _INTERVAL_S:
            said.left_out += 1
            return None
        if len(self._said) >= _KEPT_MAX:  # of texts that have values in them
            self._said.clear()
        self._said[key] = _Said(now)
        return 0 if said is None else said.left_out


class Sparing(OnceAMinute, logging.Filter):
    """Passes a record of the libraries once a minute, by logger and text before its values.

    What was left out in between is counted in the next one, as `left_out`.

    Args:
        libraries: first parts of loggers' names.
        monotonic: the time.
    """

    def __init__(
        self, libraries: tuple[str, ...], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        OnceAMinute.__init__(self, monotonic)
        logging.Filter.__init__(self)
        self._libraries = frozenset(libraries)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether `record` is passed on."""
        if record.name.partition(".")[0] not in self._libraries:
            return True
        left_out = self.left_out((record.name, record.levelno, str(record.msg)))
        if left_out is None:
            return False
        record.left_out = left_out
        return True

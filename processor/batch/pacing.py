"""How many records go into one transaction after one that PostgreSQL could not carry.

A statement that is too large for a backend, or for the driver, ends the connection, as an outage
does; the same again would end the next one. So what broke is sent in smaller parts, down to one
record, and the parts grow again with each that passes. Pure.
"""

from collections.abc import Iterable

# Attempts at one record by itself, before the fault is taken for the record's.
STRIKES_MAX = 3


class Pace:
    """The bound on the records of a transaction; lives as long as the process."""

    def __init__(self) -> None:
        self._records_max: int | None = None
        self._suspect: object = None
        self._fault: Exception | None = None
        self._strikes = 0
        # Of each place whether anything passed since its last refusal; of a new one, whether
        # anything passed at all.
        self._passed_at: dict[object, bool] = {}
        self._any_passed = False

    def is_too_much(self, records: int) -> bool:
        """Return whether so many records are to be cut before they are tried."""
        return self._records_max is not None and records > self._records_max

    def broke(self, records: int) -> None:
        """Take note of a transaction of so many records that was not carried."""
        self._records_max = max(1, records // 2)

    def passed(self, records: int, places: Iterable[object] = ()) -> None:
        """Take note of a transaction that was committed: twice as many may be tried next.

        Args:
            records: how many.
            places: the partitions of which any was counted.
        """
        for place in places:
            self._passed_at[place] = self._any_passed = True
        if self._records_max is not None and records >= self._records_max:
            self._records_max *= 2

    def is_one_alone(self, place: object) -> bool:
        """Return whether what came before a refused record of `place` passed: once after each.

        Where one after the other is refused there, the records are not the reason.
        """
        passed = self._passed_at.get(place, self._any_passed)
        self._passed_at[place] = False
        return passed

    def strike(self, record: object, fault: Exception) -> None:
        """Take note of a record that was not carried by itself, and of what came of it."""
        self._strikes = self._strikes + 1 if record == self._suspect else 1
        self._suspect, self._fault = record, fault

    def verdict(self, record: object) -> Exception | None:
        """Return why `record` is not tried again; None where it is."""
        found = self._strikes >= STRIKES_MAX and record == self._suspect
        return self._fault if found else None

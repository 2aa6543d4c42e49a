"""How many records go into one transaction.

As many as take a fraction of a second: others wait that long for it, a new catalog and whoever
counts for the same users, and batches wait for the new catalog in turn.

And fewer after one that PostgreSQL could not carry. A statement that is too large for a backend, or
for the driver, ends the connection, as an outage does; the same again would end the next one. So
what broke is sent in smaller parts, down to one record, and the parts grow again with each that
passes. Pure.
"""

from collections.abc import Iterable

# After a transaction that took longer come smaller ones, and after one that left room larger ones.
LONG_S = 0.7
# So few are not cut for their time: a transaction has its own, whatever is in it.
FEW = 500
# What is tried first; it grows from there.
_FIRST = 5_000

# Attempts at one record by itself, before the fault is taken for the record's.
STRIKES_MAX = 3


class Pace:
    """The bound on the records of a transaction; lives as long as the process.

    Attributes:
        records_max: more are cut before they are tried.
    """

    def __init__(self) -> None:
        self.records_max = _FIRST
        self._suspect: object = None
        self._fault: Exception | None = None
        self._strikes = 0
        # Of each place whether anything passed since its last refusal; of a new one, whether
        # anything passed at all.
        self._passed_at: dict[object, bool] = {}
        self._any_passed = False

    def broke(self, records: int) -> None:
        """Take note of a transaction of so many records that was not carried."""
        self.records_max = max(1, records // 2)

    def passed(self, records: int, seconds: float, places: Iterable[object] = ()) -> None:
        """Take note of a transaction that was committed.

        Args:
            records: how many.
            seconds: how long it took; twice as many are tried next where that leaves room for them.
            places: the partitions of which any was counted.
        """
        for place in places:
            self._passed_at[place] = self._any_passed = True
        if seconds > LONG_S and records > FEW:
            self.records_max = max(FEW, records // 2)
        elif records >= self.records_max and (records < FEW or seconds < LONG_S / 2):
            self.records_max *= 2

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

"""How many records go into one transaction.

As many as take a fraction of a second: others wait that long for it, a new catalog and whoever
counts for the same users, and batches wait for the new catalog in turn.

And fewer after one that PostgreSQL could not carry. A statement that is too large for a backend, or
for the driver, ends the connection, as an outage does; the same again would end the next one. So
what broke is sent in smaller parts, down to one record, and the parts grow again with each that
passes.

How many records PostgreSQL may refuse before they are not the reason is remembered here, too, from
batch to batch: a batch may be one record. Pure.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

# So many records of a partition may be refused, and one in a hundred of those that pass; beyond it
# the fault is not the records', and setting thousands aside would be the damage. By partition: what
# one holds must not pause another.
REFUSED_MIN = 20
REFUSED_SHARE = 100

# After a transaction that took longer come smaller ones, and after one that left room larger ones.
LONG_S = 0.7
# So few are not cut for their time: a transaction has its own, whatever is in it, and on a busy
# server that is most of it. They are what is tried first.
FEW = 5_000

# Attempts at one record by itself, before the fault is taken for the record's.
STRIKES_MAX = 3


class Pace:
    """The bound on the records of a transaction; lives as long as the process.

    Attributes:
        records_max: more are cut before they are tried.
    """

    def __init__(self) -> None:
        self.records_max = FEW
        self._suspect: object = None
        self._fault: Exception | None = None
        self._strikes = 0
        # Of each place whether anything passed since its last refusal; of a new one, whether
        # anything passed at all.
        self._passed_at: dict[object, bool] = {}
        self._any_passed = False
        # Of each place the hundredths of a record that were refused and not made up for since.
        self._refused = Counter[object]()

    def broke(self, records: int) -> None:
        """Take note of a transaction of so many records that was not carried."""
        self.records_max = max(1, records // 2)

    def passed(self, records: int, seconds: float, places: Mapping[Any, int] | None = None) -> None:
        """Take note of a transaction that was committed.

        Args:
            records: how many.
            seconds: how long it took; twice as many are tried next where that leaves room for them.
            places: the partitions of which any was counted, and how many.
        """
        for place, counted in (places or {}).items():
            self._passed_at[place] = self._any_passed = True
            self._refused[place] = max(0, self._refused[place] - counted)
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

    def may_refuse(self, place: object, batch_records: int) -> bool:
        """Take note of a refused record of `place`; return whether it may be set aside.

        After a False `place` begins anew: somebody looks at it meanwhile.

        Args:
            place: its partition.
            batch_records: of that partition, in the batch that holds it.
        """
        self._refused[place] += REFUSED_SHARE
        found = self._refused[place] <= max(REFUSED_MIN * REFUSED_SHARE, batch_records)
        if not found:
            del self._refused[place]
        return found

    def strike(self, record: object, fault: Exception) -> None:
        """Take note of a record that was not carried by itself, and of what came of it."""
        self._strikes = self._strikes + 1 if record == self._suspect else 1
        self._suspect, self._fault = record, fault

    def verdict(self, record: object) -> Exception | None:
        """Return why `record` is not tried again; None where it is."""
        found = self._strikes >= STRIKES_MAX and record == self._suspect
        return self._fault if found else None

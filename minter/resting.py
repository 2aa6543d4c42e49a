"""Which types are left alone for a while, because nothing could be signed for them. Pure.

What cannot be signed is not claimed again and again: every claim writes rows, and giving tasks back
must not cost them their place in the queue. A rest doubles until something is signed; one for want
of money lasts until there is enough for one such message: a burn may be affordable where a mint is
not.
"""

from dataclasses import dataclass
from uuid import UUID

from store.values.minting import MessageKind

_LONGEST_S = 5.0
# However poor the wallet stays: what was to be paid for may be gone.
_WITHOUT_MONEY_S = 600.0


@dataclass(frozen=True, slots=True)
class _Rest:
    until: float
    seconds: float


class Rests:
    """The rests of one minter's types; times are seconds of one monotonic clock."""

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._rests: dict[UUID, _Rest] = {}
        # nanograms that the wallet must be able to spend, and until when they are waited for
        self._needed: dict[tuple[UUID, MessageKind], tuple[int, float]] = {}

    def rest(self, type_id: UUID, now: float) -> None:
        """Leave a type alone for a moment, twice as long as the last time."""
        before = self._rests.get(type_id)
        doubled_s = self._first_s if before is None else 2 * before.seconds
        seconds = min(doubled_s, _LONGEST_S)
        self._rests[type_id] = _Rest(now + seconds, seconds)

    def rest_for_money(
        self, type_id: UUID, kind: MessageKind, needed_nano: int, now: float
    ) -> None:
        """Leave a type's messages of one kind alone until so much can be spent."""
        self._needed[type_id, kind] = (needed_nano, now + _WITHOUT_MONEY_S)

    def can_spend(self, nano: int) -> None:
        """End the rests for want of money that this much is enough for."""
        self._needed = {key: rest for key, rest in self._needed.items() if rest[0] > nano}

    def for_money(self, now: float) -> bool:
        """Return whether something rests for want of money at `now`."""
        return any(now < until for _, until in self._needed.values())

    def forget(self, type_id: UUID, kind: MessageKind) -> None:
        """End a type's rest: a message of this kind was signed for it."""
        self._rests.pop(type_id, None)
        self._needed.pop((type_id, kind), None)

    def resting(self, now: float) -> list[UUID]:
        """Return the types that are left alone at `now`."""
        return [type_id for type_id, rest in self._rests.items() if now < rest.until]

    def unpaid(self, kind: MessageKind, now: float) -> list[UUID]:
        """Return the types for which no message of this kind can be paid at `now`."""
        return [
            type_id
            for (type_id, of_kind), (_, until) in self._needed.items()
            if of_kind is kind and now < until
        ]

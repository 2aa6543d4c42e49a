"""What the events of some users add up to: what history puts into PostgreSQL in one transaction.

Users are dealt out by a hash, so a user's whole history lies in one slice, and every row of
nft_progress is written once. An event is in it once: repetitions within the input are gone.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from processor.events.event import Event
from store.values.names import Number


@dataclass(frozen=True, slots=True)
class SliceEvents:
    """The events of a slice by their identity, in the order of their keys: arrays of one length.

    A hundred thousand of them are no objects: they go to PostgreSQL as they lie here.

    Args:
        keys: 16 bytes a row (uint8), as processed_event.event_key.
        fingerprints: of type and subject (int32).
        days: of their times in UTC, counted from 2000-01-01 (int32).
        heard: whether some counter listens to the event's type (bool).
        places: processor/history/pieces.py (int64).
    """

    keys: NDArray[np.uint8]
    fingerprints: NDArray[np.int32]
    days: NDArray[np.int32]
    heard: NDArray[np.bool_]
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.fingerprints)


class Total(NamedTuple):
    """What the events add to one counter of one user; `latest` is the time of the last of them.

    Of a counter of members the amount is 0: what those add is known once PostgreSQL has them.
    `user`: the 16 bytes of the id; a UUID for each costs more than all the rest.
    """

    user: bytes
    counter_id: int
    amount: Number
    latest: datetime


class Member(NamedTuple):
    """An id that the events bring to a distinct or undoable counter; `user` as in Total."""

    user: bytes
    counter_id: int
    member: str
    posted: bool
    undone: bool


@dataclass(frozen=True, slots=True)
class UserSlice:
    """Users whose number modulo the number of slices is `number`, and what is to be written."""

    number: int
    events: SliceEvents
    totals: Sequence[Total]
    members: Sequence[Member]


class History(Protocol):
    """All that was read of some sources, each event once, in slices of users.

    `digest` is the same for the same input read by the same catalog in as many slices: a job that
    was interrupted goes on with the slice after its last one where it still is.
    """

    @property
    def slices(self) -> int: ...  # noqa: D102
    @property
    def digest(self) -> bytes: ...  # noqa: D102

    def slice(self, number: int, without: Collection[bytes] = ()) -> UserSlice:
        """Return a slice as if the events with the keys `without` were not in the input."""
        ...

    def origins(
        self, number: int, counters: Mapping[UUID, Collection[int]], without: Collection[bytes] = ()
    ) -> Mapping[UUID, Event]:
        """Return of users the latest event that added to one of the counters listed for them.

        The latest by time, then source, then id: what a badge names as its source.
        """
        ...

    def events(self, keys: Collection[bytes]) -> Sequence[Event]:
        """Return events by their keys, with what they add."""
        ...

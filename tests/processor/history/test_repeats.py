"""Repeated ids of a file are found whatever its size, and memory holds a small part of them."""

from collections.abc import Iterable
from uuid import UUID

import pytest

from processor.events.event import Event
from processor.events.identity import event_key, fingerprint
from processor.history import repeats
from processor.history.repeats import Repeat
from tests.builders.catalogs import TENANT
from tests.builders.messages import ALICE, BOB, NOW


def an_event(offset: int, id_: str, who: UUID = ALICE, *, heard: bool = True) -> Event:
    key = event_key(TENANT, "/s", id_)
    print_ = fingerprint("partner.joined", who)
    return Event(
        "partner.joined", offset, key, print_, who, NOW, "/s", id_, TENANT, (), heard=heard
    )


def parts_of(events: Iterable[Event]) -> list[list[Repeat]]:
    with repeats.compared() as taken:
        taken.take(events)
        return list(taken.found())


@pytest.mark.parametrize("memory_bytes", [64 * 1024, 1], ids=["in memory", "on a disk"])
def test_each_is_held_against_the_first_with_its_id(
    memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "_MEMORY_BYTES", memory_bytes)
    events = [
        an_event(0, "a"),
        an_event(3, "b", heard=False),
        an_event(4, "a"),
        an_event(7, "a", BOB),
        an_event(9, "b", heard=False),
        an_event(10, "c"),
        an_event(11, "a"),
    ]
    found = [each for part in parts_of(events) for each in part]
    assert sorted(found, key=lambda each: each.offset) == [
        Repeat(4, 0, heard=True, conflicts=False),
        Repeat(7, 0, heard=True, conflicts=True),
        Repeat(9, 3, heard=False, conflicts=False),
        Repeat(11, 0, heard=True, conflicts=False),
    ]


def test_ids_of_one_time_spread_over_the_parts() -> None:
    """The first bytes of such a key are of the time."""
    ids = [f"01980000-0000-7000-8000-{number:012x}" for number in range(4_000)]
    parts = parts_of(an_event(offset, id_) for offset, id_ in enumerate([*ids, *ids]))
    assert sum(map(len, parts)) == len(ids)
    assert max(map(len, parts)) < 60

"""Count events the slow and obvious way: one dictionary a user, one event at a time.

Nothing of the product's code.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from demo.cloudevents import Event
from demo.oracle.catalog import Badges, Number, holds

Counters = dict[str, Number]


def count_up(events: Iterable[Event], badges: Badges) -> dict[str, Counters]:
    """Return each user's counters after `events`, none of which may be a repetition.

    User -> counter -> value, zeros left out.
    """
    members: dict[tuple[str, str], set[str]] = defaultdict(set)
    undone: dict[tuple[str, str], set[str]] = defaultdict(set)
    numbers: dict[tuple[str, str], Number] = defaultdict(int)
    for event in events:
        for counter in badges.listeners.get(event.type, ()):
            place = (event.subject, counter.name)
            if event.type == counter.undo_event:
                undone[place].add(str(event.data[str(counter.undo_field)]))
                continue
            if counter.filter is not None and not passes(counter.filter, event.data):
                continue
            if counter.field is None:
                numbers[place] += 1
            elif (value := event.data.get(counter.field)) is None:
                continue
            elif counter.kind in ("count", "distinct"):
                members[place].add(str(value))
            elif isinstance(value, (int, Decimal)):
                numbers[place] = (
                    max(numbers[place], value) if counter.kind == "max" else numbers[place] + value
                )
    for place, seen in members.items():
        numbers[place] = len(seen - undone[place])
    counted: dict[str, Counters] = defaultdict(dict)
    for (user, name), value in numbers.items():
        if value:
            counted[user][name] = value
    return counted


def passes(condition: Mapping[str, object], data: Mapping[str, object]) -> bool:
    """Return whether an event's data passes a filter.

    A comparison with a missing field is false.
    """
    return holds(condition, data, missing=None)


def latest_times(events: Iterable[Event], badges: Badges) -> dict[tuple[str, str], datetime]:
    """Return when the latest event happened that some counter of a type listens to.

    (user, type code) -> its time.
    """
    latest: dict[tuple[str, str], datetime] = {}
    for event in events:
        names = {counter.name for counter in badges.listeners.get(event.type, ())}
        for code, badge in badges.by_code.items():
            if names.intersection(badge.counters):
                holder = (event.subject, code)
                latest[holder] = max(event.time, latest.get(holder, event.time))
    return latest

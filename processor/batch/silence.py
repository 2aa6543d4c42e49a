"""End the silence about a badge: say of it what the stream alone would have said.

A silent backfill counts events, and others hear nothing of the badges that follow. When the stream
then brings one of those events, it is a repetition and adds nothing; but the badges that it counts
for are told of now, and minted if a level asked for it. Other events of the user end no silence.
"""

from collections.abc import Iterable, Mapping, Set
from uuid import UUID

from processor.batch.decisions import Decisions
from processor.batch.staging import Held
from processor.events.reader import Event
from processor.rules.levels import Rulebook
from store import processed_events, silenced_badges
from store.engine import Connection
from store.processed_events import CountedEvent
from store.silenced_badges import Silenced
from store.values.badges import Instance, InstanceStatus
from store.values.names import Holder


async def hear(conn: Connection, held: Held, known: Mapping[str, CountedEvent]) -> list[Event]:
    """Return the repetitions of events that a silent job counted, and that come live at last.

    Args:
        conn: in the batch's transaction; of two that bring one event, one hears it.
        held: the events of the batch that do not count.
        known: what was counted before it, by key.
    """
    silent = {
        event.key: event
        for event in held.repetitions
        if event.key in known and known[event.key].silent
    }
    return [silent[key] for key in sorted(await processed_events.end_silence(conn, silent.keys()))]


def holders_of(events: Iterable[Event], counters_of: Mapping[UUID, Set[int]]) -> set[Holder]:
    """Return each user and type that one of `events` counts for.

    Args:
        events: as the catalog in force reads them.
        counters_of: the counters of each type.
    """
    return {
        (event.user_id, type_id)
        for event in events
        for type_id, counters in counters_of.items()
        if any(part.counter_id in counters for part in event.contributions)
    }


async def say(
    conn: Connection,
    rows: Decisions,
    rulebook: Rulebook,
    badges: Mapping[Holder, Instance],
    holders: Iterable[Holder],
) -> list[Silenced]:
    """Gather what was left out about the badges of `holders`, which are locked; return it.

    A badge that was revoked or burned meanwhile stays what it is: nothing is said.
    """
    active = {
        badge.id: badge
        for holder in holders
        if (badge := badges.get(holder)) is not None and badge.status is InstanceStatus.ACTIVE
    }
    ended = await silenced_badges.end(conn, active.keys())
    for left_out in ended:
        badge = active[left_out.nft_instance_id]
        rows.end_silence(badge, rulebook.by_id[badge.type_id], left_out)
    return ended

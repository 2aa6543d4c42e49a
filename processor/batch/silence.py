"""End the silence about a badge: say of it what the stream alone would have said.

A silent backfill counts events, and others hear nothing of the badges that follow. When the stream
then brings one of those events, it is a repetition and adds nothing; but the badges that it counts
for are told of now, and minted if a level asked for it. Other events of the user end no silence.
Commands that a silent backfill carried out are heard in the same way.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from uuid import UUID

from processor.batch.command_set import HeardCommand
from processor.batch.decisions import Decisions
from processor.batch.staging import Held
from processor.events.event import Event
from processor.rules.levels import Rulebook
from store import instances, processed_events, silenced_badges
from store.engine import Connection
from store.processed_events import CountedEvent
from store.silenced_badges import Silenced
from store.values.badges import Instance, InstanceStatus
from store.values.names import Holder
from store.values.stream import CommandType


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


def badges_of(
    heard: Iterable[HeardCommand], holders: Iterable[Holder], locked: Sequence[Instance]
) -> list[Instance]:
    """Return the badges, of those that are `locked`, about which a silence ends.

    Args:
        heard: commands that come live at last; one speaks of the badge that it was applied to.
        holders: users and types that such events count for; the latest badge speaks for them.
        locked: by their locks.
    """
    latest = instances.by_holder(locked)
    wanted = {latest[holder].id for holder in holders if holder in latest}
    wanted.update(each.badge_id for each in heard)
    return [badge for badge in locked if badge.id in wanted]


async def say(
    conn: Connection,
    rows: Decisions,
    rulebook: Rulebook,
    badges: Iterable[Instance],
) -> list[Silenced]:
    """Gather what was left out about `badges`, which are locked; return it.

    A badge that was revoked or burned meanwhile stays what it is: nothing is said.
    """
    active = {badge.id: badge for badge in badges if badge.status is InstanceStatus.ACTIVE}
    ended = await silenced_badges.end(conn, active.keys())
    for left_out in ended:
        badge = active[left_out.nft_instance_id]
        rows.end_silence(badge, rulebook.by_id[badge.type_id], left_out)
    return ended


def say_revoked(
    rows: Decisions,
    rulebook: Rulebook,
    locked: Sequence[Instance],
    heard: Iterable[HeardCommand],
) -> None:
    """Gather that badges, of those that are `locked`, were revoked in silence."""
    badges = {badge.id: badge for badge in locked}
    for each in heard:
        if each.command.type is CommandType.REVOKE and each.badge_id in badges:
            badge = badges[each.badge_id]
            rows.say_revoked(badge, rulebook.by_id[badge.type_id], each.command.reason)

"""What changed counters make of badges: the same for a batch and for a slice of history."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from processor.rules.levels import Award, LevelUp, Rulebook, Unchanged, evaluate
from store import adoption, catalog_jobs, shadows
from store.counting import Progress
from store.engine import Connection
from store.values.badges import Instance
from store.values.names import Holder


def of(
    rulebook: Rulebook, changed: Iterable[Progress], badges: Mapping[Holder, Instance]
) -> dict[Holder, Award | LevelUp]:
    """Return what the changed counters make of each badge, where that is anything."""
    found: dict[Holder, Award | LevelUp] = {}
    for each in changed:
        holder = (each.user_id, each.type_id)
        decision = evaluate(rulebook.by_id[each.type_id], each.counters, badges.get(holder))
        if not isinstance(decision, Unchanged):
            found[holder] = decision
    return found


async def adopt(conn: Connection, users: Iterable[UUID]) -> None:
    """Take over counters for `users`, where a new catalog has not done so for all yet.

    Before anything is added: who decides about them then sees whole counters.
    """
    work = await catalog_jobs.adopting(conn)
    if work is not None and (listed := set(users)):
        await adoption.adopt(conn, work.adoptions, work.dropped, listed)
        await shadows.change(conn, work.shadows, listed)

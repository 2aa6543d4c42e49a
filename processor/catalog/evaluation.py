"""Who stands at another level by a catalog: for its job, which gives it, and for its plan."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from processor.rules.levels import Award, LevelUp, Rulebook, Unchanged, evaluate, metadata
from store import instances
from store.counting import Progress
from store.engine import Connection
from store.reevaluation import ActiveBadge
from store.values.badges import Instance
from store.values.names import Holder


@dataclass(frozen=True, slots=True)
class Change:
    """A user whose counters reach a level that the badge, if there is one, does not have."""

    progress: Progress
    badge: Instance | None
    decision: Award | LevelUp


async def changes(conn: Connection, rulebook: Rulebook, found: Sequence[Progress]) -> list[Change]:
    """Return who of `found` would be given a badge or a level, without a lock.

    Whoever is not among them needs none: batches that come later decide by the same rules.
    """
    # Who reaches no level without a badge reaches none with one either: only the others' badges are
    # read.
    reaching = [each for each in found if _decided(rulebook, each, None) is not None]
    badges = instances.by_holder(await instances.read(conn, _holders(reaching)))
    made = (
        (each, badge, _decided(rulebook, each, badge))
        for each in reaching
        for badge in [badges.get((each.user_id, each.type_id))]
    )
    return [Change(each, badge, decision) for each, badge, decision in made if decision is not None]


def rewritten(rulebook: Rulebook, badge: ActiveBadge) -> dict[str, object] | None:
    """Return the metadata that a badge has by these rules; None where it has them already."""
    fresh = metadata(rulebook.by_id[badge.type_id].spec, badge.level, badge.counters)
    return None if fresh == badge.metadata else fresh


def _decided(
    rulebook: Rulebook, progress: Progress, badge: Instance | None
) -> Award | LevelUp | None:
    decision = evaluate(rulebook.by_id[progress.type_id], progress.counters, badge)
    return None if isinstance(decision, Unchanged) else decision


def _holders(found: Iterable[Progress]) -> set[Holder]:
    return {(each.user_id, each.type_id) for each in found}

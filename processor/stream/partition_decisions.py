"""What an operator decides about a partition: try again, or go on somewhere else.

The bodies of `laurel partitions`. A decision is one transaction: the ledger moves, the pause ends,
and who decided it is written down (partition_decision).
"""

from dataclasses import dataclass

from ops.errors import UsageError
from ops.settings import Settings
from ops.whoami import operator
from store import migrations, paused_partitions
from store.engine import Connection, Database
from store.paused_partitions import PauseRow, Place
from store.values.names import Partition
from store.values.stream import PauseReason

# Here the offsets mean another topic's records: what counts may lie before the ledger.
_OTHER_RECORDS = (PauseReason.TOPIC_RECREATED, PauseReason.TOPIC_ENDS_EARLY)


@dataclass(frozen=True, slots=True)
class Skip:
    """Go on at offset `to`, and why."""

    to: int
    reason: str


async def paused(settings: Settings) -> list[PauseRow]:
    """Return the partitions that are paused."""
    async with (
        Database(settings.need("database_url"), settings.database) as db,
        db.transaction() as conn,
    ):
        await migrations.check(conn)
        return list(await paused_partitions.listed(conn))


async def decide(
    settings: Settings,
    partition: Partition,
    skip: Skip | None,
    *,
    cluster: str | None,
    dry_run: bool = False,
) -> dict[str, object]:
    """Resume `partition`, or move it as `skip` says; return what was done.

    Raises:
        UsageError: there is no such partition, it is not paused, or `skip` goes back over records
            that were counted, or does not say why.
    """
    if skip is not None and not skip.reason.strip():
        raise UsageError("--reason: say why; what lies between is not counted.")
    async with (
        Database(settings.need("database_url"), settings.database) as db,
        db.transaction() as conn,
    ):
        await migrations.check(conn)
        place = await _place(conn, partition, cluster)
        _check(place, skip)
        to = None if skip is None else skip.to
        if not dry_run:
            await paused_partitions.decide(
                conn,
                place,
                to=to,
                actor=operator(),
                reason=None if skip is None else skip.reason,
            )
    return {
        "cluster_id": place.cluster_id,
        "topic": place.entry.topic,
        "partition": place.entry.partition,
        "from": place.entry.next_offset,
        "to": place.entry.next_offset if to is None else to,
        "dry_run": dry_run,
    }


async def _place(conn: Connection, partition: Partition, cluster: str | None) -> Place:
    topic, number = partition
    places = await paused_partitions.lock_places(conn, partition, cluster)
    if not places:
        raise UsageError(f"{topic}, partition {number}: nothing was ever read of it.")
    of_paused = [place for place in places if place.pause_reason is not None]
    found = of_paused if len(places) > 1 and cluster is None else places
    if len(found) != 1:
        clusters = ", ".join(place.cluster_id for place in places)
        raise UsageError(f"{topic}, partition {number}: say which with --cluster ({clusters}).")
    return found[0]


def _check(place: Place, skip: Skip | None) -> None:
    name = f"{place.entry.topic}, partition {place.entry.partition}"
    if skip is None:
        if place.pause_reason is None:
            raise UsageError(f"{name}: it is not paused. See `laurel partitions list`.")
    elif skip.to < place.entry.next_offset and place.pause_reason not in _OTHER_RECORDS:
        raise UsageError(
            f"{name}: --to {skip.to} lies before {place.entry.next_offset}, which is the next to "
            "count. Only a topic that was made anew is read from an earlier offset."
        )

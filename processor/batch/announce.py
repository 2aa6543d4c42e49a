"""Announce what silent jobs gave: the body of `laurel badge announce`.

A silent backfill, and a catalog's job with `--silent` or `--no-mint`, leave messages unsaid and
mints unasked for. The stream says them where it brings the same events; for all else a person
decides. Badges are taken in slices, each in a transaction of its own that forgets what it says: a
run that was interrupted may be run again, and nothing is said twice.
"""

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import UsageError
from processor.batch import silence
from processor.batch.decisions import Decisions
from processor.rules.levels import Rulebook
from store import audit, catalogs, instances, mint_queue, outbox, silenced_badges
from store.engine import Connection, Database
from store.silenced_badges import Choice
from store.values.badges import Actor, AuditAction, AuditEntry

SLICE = 500


@dataclass(slots=True)
class Announcement:
    """How many badges are told of, by type, and how many mints are asked for."""

    badges: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    mints: int = 0

    @property
    def document(self) -> dict[str, object]:
        """Return it for a script."""
        return {"badges": dict(self.badges), "messages": self.messages, "mints": self.mints}

    def text(self, *, dry_run: bool) -> str:
        """Return it for a person."""
        lines = [f"  {code:<20} {badges}" for code, badges in sorted(self.badges.items())]
        verb = "would be announced" if dry_run else "announced"
        lines.append(
            f"{self.badges.total()} badges {verb}: {self.messages} messages, {self.mints} mints."
        )
        return "\n".join(lines)


async def counted(db: Database, choice: Choice) -> Announcement:
    """Return what `announce` would do; nothing is written.

    Raises:
        UsageError: there is no catalog, or no such type.
    """
    found = Announcement()
    async with db.transaction() as conn:
        await _rulebook(conn, choice)
        for each in await silenced_badges.count(conn, choice):
            found.badges[each.type_code] += each.badges
            found.messages += each.badges * (each.message is not None)
            found.mints += each.badges * each.mint
    return found


async def announce(
    db: Database, choice: Choice, *, slice_max: int = SLICE, clock: Clock = SYSTEM_CLOCK
) -> Announcement:
    """Say of each badge what was left out, with the level of now, and mint it.

    Of a badge that was revoked or burned meanwhile nothing is said.

    Raises:
        UsageError: there is no catalog, or no such type.
    """
    done = Announcement()
    after: UUID | None = None

    async def body(conn: Connection) -> tuple[UUID | None, Announcement]:
        rulebook = await _rulebook(conn, choice)
        listed = await silenced_badges.following(conn, choice, after, slice_max)
        said = await _slice(conn, rulebook, listed, Decisions(clock.now()))
        return (listed[-1] if listed else None), said

    while True:
        after, said = await db.retried("announce", body)
        done.badges += said.badges
        done.messages += said.messages
        done.mints += said.mints
        if after is None:
            return done


async def _slice(
    conn: Connection, rulebook: Rulebook, listed: list[UUID], rows: Decisions
) -> Announcement:
    # One that the stream told of meanwhile is passed over: its row is gone.
    badges = await instances.lock(conn, (), listed)
    ended = await silence.say(conn, rows, rulebook, badges)
    # The owner's model has no action of its own for it.
    entries = [
        AuditEntry(
            each.nft_instance_id,
            AuditAction.METADATA_UPDATED,
            Actor.ADMIN,
            {"announced": each.message, "mint": each.nft_instance_id in rows.mints},
        )
        for each in ended
    ]
    await audit.append(conn, entries)
    mints = await mint_queue.enqueue_mints(conn, rows.mints)
    await outbox.append(conn, rows.outbox)
    types = {badge.id: badge.type_id for badge in badges}
    codes = Counter[str](rulebook.by_id[types[each.nft_instance_id]].spec.code for each in ended)
    return Announcement(codes, len(rows.outbox), mints)


async def _rulebook(conn: Connection, choice: Choice) -> Rulebook:
    """Return the rules in force, which stay so for the transaction."""
    await catalogs.current_for_share(conn)
    found = await catalogs.current(conn)
    if found is None:
        raise UsageError(catalogs.NO_CATALOG)
    rulebook = Rulebook.compile(found)
    if choice.type_code is not None and choice.type_code not in rulebook.by_code:
        codes = ", ".join(sorted(rulebook.by_code))
        raise UsageError(f"There is no badge type {choice.type_code}: take one of {codes}.")
    return rulebook

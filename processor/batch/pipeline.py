"""One batch of chunks, counted exactly once, in one transaction.

Independent of Faust and of consumer groups: whoever has chunks (the worker, `laurel backfill`, a
test that kills it) may drive it. A batch is one READ COMMITTED transaction in three steps: count
and learn whose counters matter now; lock those badges and let the pure rules decide; write the
decisions as sets. Locks are taken in the order of docs/architecture.md, sorted by key, and the
whole is retried on a deadlock. Between every two statements there is a fault point: tests/chaos
kills the process there and counts again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import InvariantBroken, UsageError
from ops.faults import Point, reach
from ops.logs import logger
from processor.batch import level_changes, silence, waiting
from processor.batch.attempt import Attempt, BatchOutcome, Merged, reported
from processor.batch.command_rules import BadgeState, Command, Waits
from processor.batch.command_sequence import CommandState
from processor.batch.command_set import CommandDecisions, CommandSet
from processor.batch.compiled_catalog import CompiledCatalog
from processor.batch.decisions import Decisions, provenance_of
from processor.batch.options import PipelineOptions
from processor.batch.phases import Phase, PhaseTimes
from processor.batch.staging import (
    Batch,
    Held,
    PlacedCommand,
    ReadChunk,
    as_rejected,
    events_of,
    latest,
    read_chunk,
)
from processor.batch.stats import BatchStats
from processor.batch.writing import write
from processor.events import message_schema
from processor.events.chunks import Chunk
from processor.events.reader import WalletChange
from processor.events.rejection import Rejected
from store import (
    catalog_use,
    catalogs,
    counting,
    instances,
    ledger,
    mint_queue,
    outbox,
    processed_events,
    progress,
    retention,
    shadows,
    wallets,
)
from store.engine import Connection, Database
from store.processed_events import CountedBy, CountedEvent
from store.values.catalog import Catalog
from store.values.minting import TokenState
from store.values.names import Partition
from store.values.stream import LedgerEntry

# So often a batch runs again because another one has just counted one of its events, or for another
# conflict; then it waits for the others, which costs more, and meets such a conflict no more.
_RACES_MAX = 3

# Long enough for a server that breaks down to be seen broken.
_MOMENT = timedelta(milliseconds=500)

log = logger("pipeline")


class CatalogChanged(Exception):
    """The batch was read by a catalog or a floor that is no longer in force: read it again."""


@dataclass(frozen=True, slots=True)
class _Apart:
    """What is decided without a batch: a person's command, or commands that wait and are due."""

    command: Command | None = None
    due: Sequence[str] = ()


class Pipeline:
    """Counts batches into one database.

    Args:
        db: the database.
        options: how messages are read and decided.
        clock: the host's; tests bring their own.
    """

    def __init__(self, db: Database, options: PipelineOptions, clock: Clock = SYSTEM_CLOCK) -> None:
        self._db = db
        self._options = options
        self._clock = clock
        self._compiled: CompiledCatalog | None = None
        self._uncounted: frozenset[int] = frozenset()

    async def load(self) -> None:
        """Read the catalog in force.

        Raises:
            UsageError: there is none yet.
        """
        async with self._db.transaction() as conn:
            found = await catalogs.current(conn)
            floor = await retention.floor(conn)
            self._uncounted = await catalog_use.uncounted(conn)
            beside = await shadows.counted(conn)
        if found is None:
            raise UsageError(catalogs.NO_CATALOG)
        self._compiled = CompiledCatalog.of(
            found, self._options.tenant_id, self._options.future_tolerance, floor, beside
        )

    @property
    def catalog(self) -> Catalog:
        """Return the catalog that messages are read by; `load` comes first."""
        return self._loaded().catalog

    def read(self, chunk: Chunk) -> ReadChunk:
        """Read a chunk; pure work for the time while the database is busy."""
        prefix = self._options.topic_prefix
        topic = None if prefix is None else message_schema.topic_of(prefix, chunk.topic)
        return read_chunk(chunk, self._loaded().reader, self._clock.now(), topic)

    async def run(self, chunks: Sequence[Chunk]) -> BatchOutcome:
        """Read and count `chunks` in one transaction."""
        return await self.commit([self.read(chunk) for chunk in chunks])

    async def commit(self, chunks: Sequence[ReadChunk]) -> BatchOutcome:
        """Count `chunks` in one transaction; read them again where the catalog has changed since.

        Raises:
            TransactionConflict: also the last of the attempts met one; nothing is written.
            DatabaseUnreachable: nothing is known to be written; the same chunks may be given again.
        """
        times = PhaseTimes(self._clock)
        committed = await self._attempt(chunks, times)
        while committed is None:
            await self.load()
            chunks = [self._read_again(chunk) for chunk in chunks]
            committed = await self._attempt(chunks, times)
        reach(Point.BATCH_COMMITTED)
        return reported(committed, times.observe(), self._clock.now(), self._options.cluster_id)

    def _read_again(self, chunk: ReadChunk) -> ReadChunk:
        read = self.read(chunk.chunk)
        return read if chunk.refused is None else as_rejected(read, chunk.refused)

    async def reachable(self) -> None:
        """Return after a moment, where the database answers.

        Raises:
            DatabaseUnreachable: it does not.
        """
        await self._clock.sleep(_MOMENT)
        await self._db.ping()

    async def apply(self, command: Command) -> Rejected | None:
        """Carry out a command that a person gives, by the same code as one from Kafka.

        Return why not, where it is rejected, or would have to wait: a person wants an answer.
        """
        decided = await self._apart(_Apart(command))
        decision = next(each for placed, each in decided.each if placed.command is command)
        if isinstance(decision, Waits):
            return decision.rejected
        return decision if isinstance(decision, Rejected) else None

    async def try_again(self, external_ids: Sequence[str]) -> CommandDecisions:
        """Decide commands that wait under `external_ids`, and return what became of them."""
        decided = await self._apart(_Apart(due=external_ids))
        BatchStats.of(Batch(()), (), Held(), (), decided, self._options.cluster_id).observe()
        return decided

    async def _apart(self, apart: _Apart) -> CommandDecisions:
        committed = await self._attempt((), PhaseTimes(self._clock), apart)
        while committed is None:
            await self.load()
            committed = await self._attempt((), PhaseTimes(self._clock), apart)
        return committed.commands

    async def _attempt(
        self, chunks: Sequence[ReadChunk], times: PhaseTimes, apart: _Apart | None = None
    ) -> Attempt | None:
        """Return what was committed; None if the catalog has changed since the chunks were read."""
        attempts = count(1)

        async def body(conn: Connection) -> Attempt:
            times.enter(Phase.FENCE)
            waits = next(attempts) > _RACES_MAX
            attempt = await self._transact(conn, chunks, times, apart, waits=waits)
            times.enter(Phase.COMMIT)
            return attempt

        try:
            committed = await self._db.retried(
                "batch", body, attempts_max=self._options.attempts_max
            )
        except CatalogChanged:
            log.info("catalog_changed")
            return None
        self._uncounted -= committed.counted_first
        return committed

    async def _transact(
        self,
        conn: Connection,
        chunks: Sequence[ReadChunk],
        times: PhaseTimes,
        apart: _Apart | None,
        *,
        waits: bool,
    ) -> Attempt:
        compiled = self._loaded()
        reach(Point.BATCH_BEGUN)
        version = await catalogs.current_for_share(conn)
        basis = (version, await retention.floor_for_share(conn))
        if basis != (compiled.version, compiled.reader.floor) or any(
            (chunk.version, chunk.floor) != basis for chunk in chunks
        ):
            raise CatalogChanged
        taken, reached, fenced = await self._fence(conn, chunks)
        reach(Point.BATCH_FENCED)
        times.enter(Phase.DEDUPE)
        batch = Batch.of(taken)
        if not taken and apart is None:
            return Attempt(batch, fenced, Decisions(self._clock.now()))
        by = CountedBy(compiled.version, self._options.is_silent, waits)
        known = await processed_events.remember(conn, batch.events, by)
        reach(Point.BATCH_DEDUPLICATED)
        times.enter(Phase.MERGE)
        merged = await self._merge(conn, compiled, batch, known, apart)
        times.enter(Phase.DECIDE)
        rows, decided = await self._decide(conn, compiled, batch, merged)
        times.enter(Phase.WRITE)
        attempt = Attempt(batch, fenced, rows, merged, decided)
        attempt.letters_repeated = await write(conn, attempt, self._options)
        attempt.counted_first = _counted_of(self._uncounted, batch, merged)
        await catalog_use.mark_counted(conn, attempt.counted_first)
        await ledger.advance(conn, self._options.cluster_id, reached)
        reach(Point.BATCH_ADVANCED)
        await outbox.append(conn, rows.outbox)
        reach(Point.BATCH_PUBLISHED)
        return attempt

    async def _fence(
        self, conn: Connection, chunks: Sequence[ReadChunk]
    ) -> tuple[list[ReadChunk], list[LedgerEntry], dict[Partition, LedgerEntry]]:
        """Lock the ledger, and tell the chunks that continue it from those that do not.

        Return the former, the entries after them, and the present entries of the others.
        """
        entries = await ledger.lock(
            conn, self._options.cluster_id, {chunk.chunk.key for chunk in chunks}
        )
        taken: list[ReadChunk] = []
        reached: dict[Partition, LedgerEntry] = {}
        fenced: dict[Partition, LedgerEntry] = {}
        for chunk in chunks:
            key = chunk.chunk.key
            entry = reached.get(key) or entries.get(key)
            if entry is None:
                raise InvariantBroken(
                    f"the ledger of {key[0]}, partition {key[1]}, was never opened"
                )
            if key not in fenced and entry.next_offset == chunk.chunk.position:
                taken.append(chunk)
                reached[key] = chunk.chunk.reached
            else:
                fenced[key] = entry
        return taken, list(reached.values()), fenced

    async def _merge(
        self,
        conn: Connection,
        compiled: CompiledCatalog,
        batch: Batch,
        known: Mapping[str, CountedEvent],
        apart: _Apart | None,
    ) -> Merged:
        """Merge what the batch brings into counters, wallets and the log of commands."""
        held = batch.held_against(known)
        heard = [] if self._options.is_silent else await silence.hear(conn, held, known)
        reach(Point.BATCH_HEARD)
        commands = await self._take_up(conn, batch, apart)
        reach(Point.BATCH_TAKEN_UP)
        claims = await commands.claim(conn)
        heard_commands = [] if self._options.is_silent else await commands.hear(conn, claims)
        beside = await waiting.beside(conn, commands.placed)
        reach(Point.BATCH_CLAIMED)
        linked = await wallets.merge(conn, [_observation(change) for change in batch.wallets])
        reach(Point.BATCH_LINKED)
        sums = _summed(compiled, batch, known)
        if sums:
            await counting.prepare(conn, compiled.merge_statement)
            await counting.stage_members(conn, sums)
        reach(Point.BATCH_STAGED)
        await counting.add_members(conn, sums)
        reach(Point.BATCH_PAIRED)
        await level_changes.adopt(conn, (event.user_id for event in batch.events))
        changed = await counting.merge(conn, sums) if sums else []
        types = compiled.rulebook.by_id
        progress = [each for each in changed if types[each.type_id].any_holds(each.counters)]
        reach(Point.BATCH_MERGED)
        return Merged(
            known, held, heard, heard_commands, linked, commands, claims, beside, progress
        )

    async def _take_up(self, conn: Connection, batch: Batch, apart: _Apart | None) -> CommandSet:
        """Return the commands of the batch, or those beside one, behind what has waited."""
        silent = not self._options.publish
        if apart is not None and apart.command is None:
            return CommandSet(tuple(await waiting.due(conn, apart.due, silent=silent)))
        own = (
            CommandSet.of(batch)
            if apart is None or apart.command is None
            else CommandSet((PlacedCommand(apart.command),))
        )
        return own.after(await waiting.of_batch(conn, batch, own.placed, silent=silent))

    async def _decide(
        self,
        conn: Connection,
        compiled: CompiledCatalog,
        batch: Batch,
        merged: Merged,
    ) -> tuple[Decisions, CommandDecisions]:
        """Lock the badges concerned, and decide by the pure rules: levels first, then commands."""
        rulebook, commands = compiled.rulebook, merged.commands
        holders = {(each.user_id, each.type_id) for each in merged.progress}
        heard = silence.holders_of(merged.heard, compiled.counters_of)
        counters = await progress.share(conn, commands.awarded(rulebook))
        reach(Point.BATCH_READ)
        locked = await instances.lock(
            conn,
            holders | heard | commands.holders(rulebook),
            commands.instance_ids | {each.badge_id for each in merged.heard_commands},
        )
        tokens = (
            await mint_queue.token_states(conn, [instance.id for instance in locked])
            if commands
            else {}
        )
        reach(Point.BATCH_LOCKED)
        rows = Decisions(self._clock.now(), self._options.publish, self._options.mint)
        badges = instances.by_holder(locked)
        told = silence.badges_of(merged.heard_commands, heard, locked)
        await silence.say(conn, rows, rulebook, told)
        silence.say_revoked(rows, rulebook, locked, merged.heard_commands)
        reach(Point.BATCH_SAID)
        changes = level_changes.of(rulebook, merged.progress, badges)
        fresh = (event for event in batch.events if event.key not in merged.known)
        events = events_of(fresh, {user_id for user_id, _ in changes})
        for holder, decision in changes.items():
            user_id, type_id = holder
            event = latest(events.get(user_id, ()), compiled.counters_of[type_id])
            if event is None:
                raise InvariantBroken("counters changed without an event")
            badges[holder] = rows.take(
                rulebook.by_id[type_id],
                user_id,
                decision,
                badges.get(holder),
                provenance_of(event),
            )
        if not commands:
            return rows, CommandDecisions()
        # As the levels of this batch leave them; a badge that the batch makes has no token yet.
        known = {badge.id: badge for badge in (*locked, *badges.values())}
        decided = commands.decide(
            CommandState(
                rulebook,
                merged.claims.applied,
                {
                    badge.id: BadgeState.of(
                        badge, tokens.get(badge.id, TokenState()), minting=badge.id in rows.mints
                    )
                    for badge in known.values()
                },
                {holder: badge.id for holder, badge in badges.items()},
                merged.beside,
                counters,
                auto_mint=self._options.mint,
            )
        )
        for command, accepted in decided.accepted:
            rows.take_command(command, rulebook.by_id[accepted.badge.instance.type_id], accepted)
        return rows, decided

    def _loaded(self) -> CompiledCatalog:
        if self._compiled is None:
            raise InvariantBroken("the catalog was not loaded")
        return self._compiled


def _summed(
    compiled: CompiledCatalog, batch: Batch, known: Mapping[str, CountedEvent]
) -> counting.Sums:
    """Return what the events that were never counted add to the counters."""
    sums = counting.Sums(compiled.merge_statement)
    for event in batch.events:
        if event.contributions and event.key not in known:
            sums.add(event.user_id, event.time, event.contributions)
    return sums


def _counted_of(uncounted: frozenset[int], batch: Batch, merged: Merged) -> frozenset[int]:
    """Return which of the counters that have not counted yet do so in this batch."""
    if not uncounted:
        return frozenset()
    return uncounted.intersection(
        part.counter_id
        for event in batch.events
        if event.key not in merged.known
        for part in event.contributions
    )


def _observation(change: WalletChange) -> wallets.WalletObservation:
    linked = change.type is message_schema.WalletType.LINKED
    return wallets.WalletObservation(
        change.user_id,
        change.address,
        change.time if linked else None,
        None if linked else change.time,
        change.test_only,
    )

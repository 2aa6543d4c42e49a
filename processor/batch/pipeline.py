"""One batch of chunks, counted exactly once, in one transaction.

Independent of Faust and of consumer groups: whoever has chunks (the worker, `laurel backfill`, a
test that kills it) may drive it. A batch is one READ COMMITTED transaction in three steps: count
and learn whose counters matter now; lock those badges and let the pure rules decide; write the
decisions as sets. Locks are taken in the order of docs/architecture.md, sorted by key, and the
whole is retried on a deadlock. Between every two statements there is a fault point: tests/chaos
kills the process there and counts again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self
from uuid import UUID

from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import InvariantBroken, UsageError
from ops.faults import Point, reach
from ops.logs import logger
from ops.settings import Settings
from processor.batch import silence
from processor.batch.command_rules import BadgeState, Command, CommandState
from processor.batch.command_set import Claims, CommandDecisions, CommandSet, settle
from processor.batch.compiled_catalog import CompiledCatalog
from processor.batch.decisions import Decisions, provenance_of
from processor.batch.staging import (
    Batch,
    Held,
    PlacedCommand,
    ReadChunk,
    RejectedRecord,
    as_rejected,
    events_of,
    latest,
    read_chunk,
)
from processor.batch.stats import BatchStats
from processor.events import message_schema
from processor.events.chunks import Chunk
from processor.events.reader import Event, WalletChange
from processor.events.rejection import Rejected
from store import (
    adoption,
    audit,
    catalog_jobs,
    catalogs,
    counting,
    dead_letters,
    instances,
    ledger,
    mint_queue,
    outbox,
    processed_events,
    progress,
    retention,
    silenced_badges,
    wallets,
)
from store.engine import Connection, Database
from store.processed_events import CountedEvent
from store.values import Catalog, LedgerEntry, Partition, RawAddress, TaskOperation, TokenState

# Long enough for a server that breaks down to be seen broken.
_MOMENT = timedelta(milliseconds=500)

log = logger("pipeline")


class CatalogChanged(Exception):
    """The batch was read by a catalog or a floor that is no longer in force: read it again."""


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How messages are read and decided; from the settings.

    `cluster_id` names the source of offsets (a Kafka cluster, or `file`); `topic_prefix` None means
    that topics name files and say nothing about the types in them. `publish`: messages about badges
    go to the outbox; `mint`: badges are minted by themselves where their policy says so.
    """

    cluster_id: str
    topic_prefix: str | None
    tenant_id: UUID
    future_tolerance: timedelta
    attempts_max: int = 8
    publish: bool = True
    mint: bool = True

    @property
    def is_silent(self) -> bool:
        """Return whether something that the stream would cause is left out."""
        return not (self.publish and self.mint)

    @classmethod
    def of(
        cls,
        settings: Settings,
        cluster_id: str,
        *,
        has_contract_topics: bool = True,
        publish: bool = True,
        mint: bool = True,
    ) -> Self:
        """Return the options that `settings` ask for.

        `has_contract_topics` False: topics name files.
        """
        return cls(
            cluster_id=cluster_id,
            topic_prefix=settings.kafka.topic_prefix if has_contract_topics else None,
            tenant_id=settings.tenant_id,
            future_tolerance=settings.worker.future_tolerance,
            attempts_max=settings.worker.retries_max,
            publish=publish,
            mint=mint,
        )


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a batch.

    `fenced` maps partitions whose chunks did not continue the ledger to where it stands.
    """

    records: int
    counted: int
    duplicates: int
    levels: int
    rejected: Sequence[RejectedRecord]
    fenced: Mapping[Partition, LedgerEntry]

    def followed_by(self, other: "BatchOutcome") -> "BatchOutcome":
        """Return what became of this batch and the one after it together."""
        return BatchOutcome(
            self.records + other.records,
            self.counted + other.counted,
            self.duplicates + other.duplicates,
            self.levels + other.levels,
            [*self.rejected, *other.rejected],
            {**self.fenced, **other.fenced},
        )


@dataclass(frozen=True, slots=True)
class _Merged:
    """What the database said of a batch while it was merged.

    `known` are its events that had been counted before, `held` all that do not count, `heard` those
    that a silent job had counted and that the stream brings now, `linked` the wallets that it
    changed, `progress` the counters that may have changed a level.
    """

    known: Mapping[str, CountedEvent] = field(default_factory=dict)
    held: Held = field(default_factory=Held)
    heard: Sequence[Event] = ()
    linked: frozenset[tuple[UUID, RawAddress]] = frozenset()
    claims: Claims = field(default_factory=Claims)
    progress: Sequence[counting.Progress] = ()


@dataclass(slots=True)
class _Attempt:
    """One attempt at a batch; its facts hold only if it commits."""

    batch: Batch
    fenced: Mapping[Partition, LedgerEntry]
    rows: Decisions
    merged: _Merged = field(default_factory=_Merged)
    commands: CommandDecisions = field(default_factory=CommandDecisions)
    letters_repeated: int = 0

    @property
    def rejected(self) -> list[RejectedRecord]:
        """Return the records that become dead letters."""
        of_commands = (
            placed.record_rejected(rejected) for placed, rejected in self.commands.rejected
        )
        return [
            *(each for chunk in self.batch.chunks for each in chunk.rejected),
            *self.merged.held.conflicts,
            *(each for each in of_commands if each is not None),
        ]


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

    async def load(self) -> None:
        """Read the catalog in force.

        Raises:
            UsageError: there is none yet.
        """
        async with self._db.transaction() as conn:
            found = await catalogs.current(conn)
            floor = await retention.floor(conn)
        if found is None:
            raise UsageError(catalogs.NO_CATALOG)
        self._compiled = CompiledCatalog.of(
            found, self._options.tenant_id, self._options.future_tolerance, floor
        )

    @property
    def catalog(self) -> Catalog:
        """Return the catalog that messages are read by; `load` comes first."""
        return self._loaded().reader.catalog

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
        started = self._clock.monotonic()
        committed = await self._attempt(chunks)
        while committed is None:
            await self.load()
            chunks = [self._read_again(chunk) for chunk in chunks]
            committed = await self._attempt(chunks)
        reach(Point.BATCH_COMMITTED)
        return _reported(committed, self._clock.monotonic() - started)

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

        Return why not, where it is rejected.
        """
        committed = await self._attempt((), command)
        while committed is None:
            await self.load()
            committed = await self._attempt((), command)
        return next((rejected for _, rejected in committed.commands.rejected), None)

    async def _attempt(
        self, chunks: Sequence[ReadChunk], command: Command | None = None
    ) -> _Attempt | None:
        """Return what was committed; None if the catalog has changed since the chunks were read."""
        try:
            return await self._db.retried(
                "batch",
                lambda conn: self._transact(conn, chunks, command),
                attempts_max=self._options.attempts_max,
            )
        except CatalogChanged:
            log.info("catalog_changed")
            return None

    async def _transact(
        self, conn: Connection, chunks: Sequence[ReadChunk], command: Command | None
    ) -> _Attempt:
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
        batch = Batch.of(taken)
        if not taken and command is None:
            return _Attempt(batch, fenced, Decisions(self._clock.now()))
        commands = (
            CommandSet.of(batch) if command is None else CommandSet((PlacedCommand(command),))
        )
        merged = await self._merge(conn, compiled, batch, commands)
        rows, decided = await self._decide(conn, compiled, batch, merged, commands)
        attempt = _Attempt(batch, fenced, rows, merged, decided)
        attempt.letters_repeated = await self._write(conn, attempt)
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
        self, conn: Connection, compiled: CompiledCatalog, batch: Batch, commands: CommandSet
    ) -> _Merged:
        """Merge what the batch brings into counters, wallets and the log of commands."""
        staged = [chunk.staging for chunk in batch.chunks if chunk.staging]
        if staged:
            await counting.prepare(conn)
            await counting.stage(conn, staged)
        reach(Point.BATCH_STAGED)
        known = (
            await processed_events.dedupe(conn, compiled.version, silent=self._options.is_silent)
            if staged
            else {}
        )
        held = batch.held_against(known)
        reach(Point.BATCH_DEDUPLICATED)
        heard = [] if self._options.is_silent else await silence.hear(conn, held, known)
        reach(Point.BATCH_HEARD)
        claims = await commands.claim(conn)
        reach(Point.BATCH_CLAIMED)
        linked = await wallets.merge(conn, [_observation(change) for change in batch.wallets])
        reach(Point.BATCH_LINKED)
        if any(staging.has_pairs for staging in staged):
            await counting.pair(conn)
        reach(Point.BATCH_PAIRED)
        await _adopt(conn, batch)
        progress = await counting.merge(conn, compiled.bindings) if staged else []
        reach(Point.BATCH_MERGED)
        return _Merged(known, held, heard, linked, claims, progress)

    async def _decide(
        self,
        conn: Connection,
        compiled: CompiledCatalog,
        batch: Batch,
        merged: _Merged,
        commands: CommandSet,
    ) -> tuple[Decisions, CommandDecisions]:
        """Lock the badges concerned, and decide by the pure rules: levels first, then commands."""
        rulebook = compiled.rulebook
        holders = {(each.user_id, each.type_id) for each in merged.progress}
        heard = silence.holders_of(merged.heard, compiled.counters_of)
        counters = await progress.share(conn, commands.awarded(rulebook))
        reach(Point.BATCH_READ)
        locked = await instances.lock(
            conn, holders | heard | commands.holders(rulebook), commands.instance_ids
        )
        tokens = (
            await mint_queue.token_states(conn, [instance.id for instance in locked])
            if commands
            else {}
        )
        reach(Point.BATCH_LOCKED)
        rows = Decisions(self._clock.now(), self._options.publish, self._options.mint)
        badges = instances.by_holder(locked)
        await silence.say(conn, rows, rulebook, badges, heard)
        reach(Point.BATCH_SAID)
        fresh = (event for event in batch.events if event.key not in merged.known)
        events = events_of(fresh, {user_id for user_id, _ in holders})
        for each in merged.progress:
            holder = (each.user_id, each.type_id)
            event = latest(events.get(each.user_id, ()), compiled.counters_of[each.type_id])
            if event is None:
                raise InvariantBroken("counters changed without an event")
            after = rows.take_level(
                rulebook.by_id[each.type_id], each, badges.get(holder), provenance_of(event)
            )
            if after is not None:
                badges[holder] = after
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
                counters,
                auto_mint=self._options.mint,
            )
        )
        for command, accepted in decided.accepted:
            rows.take_command(command, rulebook.by_id[accepted.badge.instance.type_id], accepted)
        return rows, decided

    async def _write(self, conn: Connection, attempt: _Attempt) -> int:
        """Write what was decided, set by set, in the order of the locks.

        Return how many dead letters were there already.
        """
        rows = attempt.rows
        await instances.raise_levels(conn, rows.raised)
        reach(Point.BATCH_RAISED)
        await instances.revoke(conn, list(rows.revoked))
        reach(Point.BATCH_REVOKED)
        # Last: a badge is active only once the one before it is not.
        await instances.create(conn, rows.created)
        reach(Point.BATCH_CREATED)
        await silenced_badges.keep(conn, rows.silenced)
        reach(Point.BATCH_SILENCED)
        await audit.append(conn, rows.audit)
        reach(Point.BATCH_AUDITED)
        users = {change.user_id for change in attempt.batch.wallets}
        await mint_queue.release_held(conn, sorted(users))
        reach(Point.BATCH_RELEASED)
        await mint_queue.enqueue_mints(conn, rows.mints)
        reach(Point.BATCH_MINTING)
        cancelled = await mint_queue.cancel_unsigned_mints(
            conn, list(rows.revoked), "the badge was revoked"
        )
        reach(Point.BATCH_CANCELLED)
        signed = {badge for badge, had_mint in rows.revoked.items() if had_mint} - cancelled
        burns = sorted(rows.burns | signed)
        await mint_queue.enqueue(
            conn, [mint_queue.NewTask(badge, TaskOperation.BURN) for badge in burns]
        )
        reach(Point.BATCH_BURNING)
        await settle(conn, attempt.merged.claims, attempt.commands)
        reach(Point.BATCH_LOGGED)
        letters = [each.dead_letter for each in attempt.rejected]
        repeated = await dead_letters.append(conn, self._options.cluster_id, letters)
        reach(Point.BATCH_DEAD_LETTERED)
        return repeated

    def _loaded(self) -> CompiledCatalog:
        if self._compiled is None:
            raise InvariantBroken("the catalog was not loaded")
        return self._compiled


async def _adopt(conn: Connection, batch: Batch) -> None:
    """Take over counters for the batch's users, where a new catalog has not done so for all yet.

    Before anything is added: who decides about them then sees whole counters.
    """
    work = await catalog_jobs.adopting(conn)
    if work is not None and (users := {event.user_id for event in batch.events}):
        await adoption.adopt(conn, work.adoptions, work.dropped, users)


def _reported(attempt: _Attempt, seconds: float) -> BatchOutcome:
    """Count what was committed in the metrics, log it, and return it."""
    batch, merged = attempt.batch, attempt.merged
    stats = BatchStats.of(batch, merged.known, merged.held, merged.linked, attempt.commands)
    stats.observe()
    metrics.DEAD_LETTERS_REPEATED.inc(attempt.letters_repeated)
    for (code, level), number in attempt.rows.levels.items():
        metrics.LEVELS.labels(code, str(level)).inc(number)
    metrics.BATCH_SECONDS.observe(seconds)
    metrics.BATCH_RECORDS.observe(batch.records)
    outcome = BatchOutcome(
        batch.records,
        stats.counted,
        stats.duplicates,
        attempt.rows.levels.total(),
        attempt.rejected,
        attempt.fenced,
    )
    log.info(
        "batch_committed",
        records=outcome.records,
        partitions=len({chunk.chunk.key for chunk in batch.chunks}),
        counted=outcome.counted,
        duplicates=outcome.duplicates,
        dead_letters=stats.dead_letters,
        dead_letters_repeated=attempt.letters_repeated,
        levels=outcome.levels,
        applied=stats.applied,
        fenced=len(outcome.fenced),
        seconds=round(seconds, 4),
    )
    return outcome


def _observation(change: WalletChange) -> wallets.WalletObservation:
    linked = change.type is message_schema.WalletType.LINKED
    return wallets.WalletObservation(
        change.user_id,
        change.address,
        change.time if linked else None,
        None if linked else change.time,
    )

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
from typing import Self
from uuid import UUID

from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import InvariantBroken, UsageError
from ops.faults import Point, reach
from ops.logs import logger
from ops.settings import Settings
from processor.batch.command_rules import Refuse
from processor.batch.command_set import CommandSet
from processor.batch.compiled_catalog import Definitions
from processor.batch.decisions import Decisions, provenance_of
from processor.batch.staging import (
    Batch,
    PlacedCommand,
    ReadChunk,
    dead_letter,
    events_of,
    latest,
    read_chunk,
)
from processor.batch.stats import Tally
from processor.events import message_schema
from processor.events.chunks import Chunk
from processor.events.reader import BadgeCommand, WalletChange
from store import (
    audit,
    catalogs,
    counting,
    dead_letters,
    instances,
    ledger,
    mint_queue,
    outbox,
    wallets,
)
from store.dead_letters import NewDeadLetter
from store.engine import Connection, Database
from store.ledger import LedgerEntry, Partition
from store.values import Catalog, RawAddress, TaskOperation

log = logger("pipeline")


class CatalogChanged(Exception):
    """The batch was read by a catalog that is no longer in force: read it again."""


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How messages are judged; from the settings.

    `cluster_id` names the source of offsets (a Kafka cluster, or `file`); `topic_prefix` None means
    that topics name files and say nothing about the types in them. `announce`: others are told;
    `mint`: badges are minted by themselves where their policy says so.
    """

    cluster_id: str
    topic_prefix: str | None
    tenant_id: UUID
    future_tolerance: timedelta
    retention: timedelta | None = None
    attempts_max: int = 8
    announce: bool = True
    mint: bool = True

    @classmethod
    def of(
        cls,
        settings: Settings,
        cluster_id: str,
        *,
        has_contract_topics: bool = True,
        announce: bool = True,
        mint: bool = True,
    ) -> Self:
        """Return the options that `settings` ask for; `has_contract_topics` False: topics name files."""
        return cls(
            cluster_id=cluster_id,
            topic_prefix=settings.kafka.topic_prefix if has_contract_topics else None,
            tenant_id=settings.tenant_id,
            future_tolerance=settings.worker.future_tolerance,
            retention=settings.worker.event_retention,
            attempts_max=settings.worker.retries_max,
            announce=announce,
            mint=mint,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch.

    `put_aside` has offset, reason and detail of each dead letter; `fenced` maps partitions whose
    chunks did not continue the ledger to where it stands.
    """

    records: int
    counted: int
    duplicates: int
    dead_letters: int
    levels: int
    put_aside: Sequence[tuple[int, str, str]]
    fenced: Mapping[Partition, LedgerEntry]


@dataclass(slots=True)
class _Written:
    """The facts of one attempt, for metrics and the log line; they count only if it commits."""

    batch: Batch
    fenced: Mapping[Partition, LedgerEntry]
    decisions: Decisions
    commands: CommandSet
    known: frozenset[str] = frozenset()
    linked: frozenset[tuple[UUID, RawAddress]] = frozenset()
    letters: Sequence[NewDeadLetter] = ()

    @property
    def wallets(self) -> list[WalletChange]:
        return [change for chunk in self.batch.chunks for change in chunk.wallets]


class Pipeline:
    """Counts batches into one database.

    Args:
        db: the database.
        options: how messages are judged.
        clock: the host's; tests bring their own.
    """

    def __init__(self, db: Database, options: PipelineOptions, clock: Clock = SYSTEM_CLOCK) -> None:
        self._db = db
        self._options = options
        self._clock = clock
        self._definitions: Definitions | None = None

    async def load(self) -> None:
        """Read the catalog in force.

        Raises:
            UsageError: there is none yet.
        """
        async with self._db.transaction() as conn:
            found = await catalogs.current(conn)
        if found is None:
            raise UsageError(catalogs.NO_CATALOG)
        self._definitions = Definitions.of(
            found, self._options.tenant_id, self._options.future_tolerance, self._options.retention
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

    async def run(self, chunks: Sequence[Chunk]) -> Outcome:
        """Read and count `chunks` in one transaction."""
        return await self.count([self.read(chunk) for chunk in chunks])

    async def count(self, chunks: Sequence[ReadChunk]) -> Outcome:
        """Count `chunks` in one transaction; read them again where the catalog has changed since.

        Raises:
            TransactionConflict: also the last of the attempts met one; nothing is written.
            DatabaseUnreachable: nothing is known to be written; the same chunks may be given again.
        """
        started = self._clock.monotonic()
        committed = await self._attempt(chunks)
        while committed is None:
            await self.load()
            chunks = [self.read(chunk.chunk) for chunk in chunks]
            committed = await self._attempt(chunks)
        reach(Point.BATCH_COMMITTED)
        return self._noted(committed, self._clock.monotonic() - started)

    async def apply(self, command: BadgeCommand) -> Refuse | None:
        """Carry out a command that a person gives, by the same code as one from Kafka.

        Return why not, where it is refused.
        """
        committed = await self._attempt((), command)
        while committed is None:
            await self.load()
            committed = await self._attempt((), command)
        refused = committed.commands.refused
        return refused[0][1] if refused else None

    async def _attempt(
        self, chunks: Sequence[ReadChunk], command: BadgeCommand | None = None
    ) -> _Written | None:
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
        self, conn: Connection, chunks: Sequence[ReadChunk], command: BadgeCommand | None
    ) -> _Written:
        definitions = self._loaded()
        reach(Point.BATCH_BEGUN)
        version = await catalogs.current_for_share(conn)
        if version != definitions.version or any(chunk.version != version for chunk in chunks):
            raise CatalogChanged
        taken, reached, fenced = await self._fence(conn, chunks)
        reach(Point.BATCH_FENCED)
        batch = Batch.of(taken)
        decisions = Decisions(self._clock.now(), self._options.announce, self._options.mint)
        commands = CommandSet.of(batch) if command is None else CommandSet([PlacedCommand(command)])
        written = _Written(batch, fenced, decisions, commands)
        if taken or command:
            found = await self._count(conn, definitions, written)
            await self._decide(conn, definitions, written, found)
            await self._write(conn, written)
            await ledger.advance(conn, self._options.cluster_id, reached)
            reach(Point.BATCH_ADVANCED)
            await outbox.append(conn, written.decisions.outbox)
            reach(Point.BATCH_ANNOUNCED)
        return written

    async def _fence(
        self, conn: Connection, chunks: Sequence[ReadChunk]
    ) -> tuple[list[ReadChunk], list[LedgerEntry], dict[Partition, LedgerEntry]]:
        """Return the chunks that continue the ledger, where it stands after them, and where it
        stands for the others.
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

    async def _count(
        self, conn: Connection, definitions: Definitions, written: _Written
    ) -> list[counting.Progress]:
        staged = [chunk.staging for chunk in written.batch.chunks if chunk.staging]
        if staged:
            await counting.prepare(conn)
            await counting.stage(conn, staged)
        reach(Point.BATCH_STAGED)
        if staged:
            written.known = await counting.dedupe(conn)
        reach(Point.BATCH_DEDUPLICATED)
        await written.commands.claim(conn)
        reach(Point.BATCH_CLAIMED)
        written.linked = await wallets.merge(conn, [_seen(change) for change in written.wallets])
        reach(Point.BATCH_LINKED)
        if any(staging.has_pairs for staging in staged):
            await counting.pair(conn)
        reach(Point.BATCH_PAIRED)
        found = await counting.merge(conn, definitions.uses) if staged else []
        reach(Point.BATCH_MERGED)
        return found

    async def _decide(
        self,
        conn: Connection,
        definitions: Definitions,
        written: _Written,
        found: Sequence[counting.Progress],
    ) -> None:
        rulebook, decisions, commands = definitions.rulebook, written.decisions, written.commands
        holders = {(each.user_id, each.type_id) for each in found}
        locked = await instances.lock(
            conn, holders | commands.holders(rulebook), commands.instance_ids
        )
        standings = (
            await mint_queue.standings(conn, [instance.id for instance in locked])
            if commands
            else {}
        )
        reach(Point.BATCH_LOCKED)
        badges = instances.by_holder(locked)
        fresh = (event for event in written.batch.events if event.key not in written.known)
        events = events_of(fresh, {user_id for user_id, _ in holders})
        for each in found:
            holder = (each.user_id, each.type_id)
            event = latest(events.get(each.user_id, ()), definitions.counters_of[each.type_id])
            if event is None:
                raise InvariantBroken("counters changed without an event")
            after = decisions.take_level(
                rulebook.by_id[each.type_id], each, badges.get(holder), provenance_of(event)
            )
            if after is not None:
                badges[holder] = after
        commands.judge(rulebook, badges, locked, standings, decisions)

    async def _write(self, conn: Connection, written: _Written) -> None:
        decisions, commands, batch = written.decisions, written.commands, written.batch
        await instances.create(conn, decisions.created)
        reach(Point.BATCH_CREATED)
        await instances.raise_levels(conn, decisions.raised)
        reach(Point.BATCH_RAISED)
        await instances.revoke(conn, list(decisions.revoked))
        reach(Point.BATCH_REVOKED)
        await audit.append(conn, decisions.audit)
        reach(Point.BATCH_AUDITED)
        await mint_queue.release_held(conn, sorted({change.user_id for change in written.wallets}))
        reach(Point.BATCH_RELEASED)
        await mint_queue.enqueue_mints(conn, decisions.mints)
        reach(Point.BATCH_MINTING)
        cancelled = await mint_queue.cancel_unsigned_mints(
            conn, list(decisions.revoked), "the badge was revoked"
        )
        reach(Point.BATCH_CANCELLED)
        signed = {badge for badge, had_mint in decisions.revoked.items() if had_mint} - cancelled
        burns = sorted(decisions.burns | signed)
        await mint_queue.enqueue(
            conn, [mint_queue.NewTask(badge, TaskOperation.BURN) for badge in burns]
        )
        reach(Point.BATCH_BURNING)
        await commands.settle(conn)
        reach(Point.BATCH_LOGGED)
        letters = [letter for chunk in batch.chunks for letter in chunk.dead_letters]
        letters += [
            dead_letter(placed.position, placed.record, refusal.reason, refusal.detail)
            for placed, refusal in commands.refused
            if placed.position is not None and placed.record is not None
        ]
        written.letters = letters
        await dead_letters.append(conn, self._options.cluster_id, letters)
        reach(Point.BATCH_PUT_ASIDE)

    def _noted(self, written: _Written, seconds: float) -> Outcome:
        """Tell metrics and log what was committed."""
        tally = Tally.of(written.batch, written.known, written.commands, written.linked)
        tally.publish()
        for (code, level), number in written.decisions.levels.items():
            metrics.LEVELS.labels(code, str(level)).inc(number)
        outcome = Outcome(
            written.batch.records,
            tally.counted,
            tally.duplicates,
            tally.dead_letters,
            written.decisions.levels.total(),
            [(letter.position.offset, letter.reason, letter.detail) for letter in written.letters],
            written.fenced,
        )
        metrics.BATCH_SECONDS.observe(seconds)
        metrics.BATCH_RECORDS.observe(outcome.records)
        log.info(
            "batch_committed",
            records=outcome.records,
            partitions=len({chunk.chunk.key for chunk in written.batch.chunks}),
            counted=outcome.counted,
            duplicates=outcome.duplicates,
            dead_letters=outcome.dead_letters,
            levels=outcome.levels,
            applied=tally.applied,
            fenced=len(outcome.fenced),
            seconds=round(seconds, 4),
        )
        return outcome

    def _loaded(self) -> Definitions:
        if self._definitions is None:
            raise InvariantBroken("the catalog was not loaded")
        return self._definitions


def _seen(change: WalletChange) -> wallets.WalletSeen:
    linked = change.type is message_schema.WalletType.LINKED
    return wallets.WalletSeen(
        change.user_id,
        change.address,
        change.time if linked else None,
        None if linked else change.time,
    )

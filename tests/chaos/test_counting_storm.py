"""Three pipelines that know nothing of each other and a silent backfill of what they count, zombies,
killed backends, catalogs applied meanwhile, and poison.

The counters equal a model that counts the slow and obvious way; every broken message is a dead
letter, once; each user has one badge a type, at the level that the counters reach, and messages
numbered without a gap. What the backfill took first is said once the stream has brought it.

How the tasks interleave differs from run to run; what must come out does not.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from demo.cloudevents import Event, binary, structured
from demo.events import malformed
from demo.records import Record
from ops.settings import DEFAULT_TENANT
from processor.batch import bisection
from processor.batch.options import PipelineOptions
from processor.batch.pipeline import Pipeline
from processor.catalog import load
from processor.catalog.apply import apply_catalog
from processor.events.chunks import Chunk, PlainRecord
from store import ledger
from store.engine import Database, DatabaseUnreachable
from store.values.catalog import Catalog, LevelSpec
from store.values.names import Partition
from tests.builders.clock import FakeClock
from tests.builders.messages import CLUSTER, NOW, terms, user
from tests.builders.patience import PATIENCE_S
from tests.builders.sql import column, rows

EVENTS = 6_000
USERS = 40
PARTITIONS = 3
PIPELINES = 3
BATCH_RECORDS_MAX = 120
# One message in a hundred is broken, one in twenty comes twice.
POISON_SHARE, DUPLICATE_SHARE = 0.01, 0.05
# Partners for the levels of the ambassador, by the two catalogs; a user invites some thirty.
GENEROUS, STRICT = (10, 28, 34), (20, 32, 40)
# Users of whom nothing but history tells.
VETERANS = [user(1_000 + number) for number in range(5)]
SILENT = terms(cluster_id="file", topic_prefix=None, publish=False, mint=False)
# A pipeline that was away for a while believes what it read of the ledger long ago.
ZOMBIE_SHARE = 0.15


@dataclass
class Model:
    """What must come out, counted the slow and obvious way."""

    plain: dict[str, Counter[UUID]] = field(default_factory=lambda: defaultdict(Counter))
    cities: dict[UUID, set[str]] = field(default_factory=lambda: defaultdict(set))
    posted: dict[UUID, set[str]] = field(default_factory=lambda: defaultdict(set))
    removed: dict[UUID, set[str]] = field(default_factory=lambda: defaultdict(set))
    events: int = 0

    def take(self, event: Event) -> None:
        who = UUID(event.subject)
        self.events += 1
        match event.type:
            case "city.visited":
                self.cities[who].add(str(event.data["city_id"]))
            case "review.posted":
                self.posted[who].add(str(event.data["review_id"]))
            case "review.removed":
                self.removed[who].add(str(event.data["review_id"]))
            case other:
                self.plain[other][who] += 1

    def counters(self) -> Mapping[tuple[str, UUID], int]:
        """The counters by name and user; those of users whom no event ever touched are missing."""
        names = {"quest.completed": "quest_completed_count", "partner.joined": "partners_invited"}
        found = {
            (names[kind], who): number
            for kind, counted in self.plain.items()
            for who, number in counted.items()
        }
        found |= {("unique_cities_visited", who): len(seen) for who, seen in self.cities.items()}
        for who in {*self.posted, *self.removed}:
            standing = self.posted[who] - self.removed[who]
            found["rf_reviews_posted", who] = len(standing)
        return found


@dataclass(frozen=True)
class Storm:
    """The messages by partition, the model of them, and how many are broken.

    `history` is a file of the same events in another order, and of those of VETERANS, which no
    partition has.
    """

    log: Mapping[Partition, Sequence[PlainRecord]]
    model: Model
    poison: Counter[str]
    history: Mapping[Partition, Sequence[PlainRecord]]


def _events(chance: random.Random) -> Iterator[Event]:
    for number in range(EVENTS):
        who = user(chance.randrange(USERS))
        kind = chance.choice(
            ("quest.completed", "partner.joined", "city.visited", "review.posted", "review.removed")
        )
        topic, data = {
            "quest.completed": ("quests", {"quest_id": f"q-{number}"}),
            "partner.joined": ("partners", {"partner_id": f"p-{number}"}),
            "city.visited": ("cities", {"city_id": f"city-{chance.randrange(12)}"}),
            "review.posted": ("reviews", {"review_id": f"{who}/{chance.randrange(15)}"}),
            "review.removed": ("reviews", {"review_id": f"{who}/{chance.randrange(15)}"}),
        }[kind]
        at = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=number)
        yield Event(topic, kind, "/storm-service", f"e-{number}", str(who), at, data)


def a_storm(seed: int) -> Storm:
    chance = random.Random(seed)
    model, poison, sent = Model(), Counter[str](), list[Record]()
    lines = list[Event]()
    for event in _events(chance):
        lines.append(event)
        model.take(event)
        shape = chance.choice((structured, binary))
        sent.append(shape(event))
        if chance.random() < DUPLICATE_SHARE:
            sent.append(shape(event))
        if chance.random() < POISON_SHARE:
            kind = malformed.KINDS[poison.total() % len(malformed.KINDS)]
            poison[kind.reason] += 1
            sent.append(kind.spoil(replace(event, id=f"broken-{poison.total()}")))
    log: dict[Partition, list[PlainRecord]] = defaultdict(list)
    for record in sent:
        # Not by key: what one user did may arrive in any order.
        partition = f"laurel.{record.topic}", chance.randrange(PARTITIONS)
        records = log[partition]
        records.append(
            PlainRecord(len(records), record.value, record.key, record.headers, 1_780_000_000_000)
        )
    for number, who in enumerate(VETERANS * 12):
        at = datetime(2026, 4, 1, tzinfo=UTC)
        data = {"partner_id": f"old-{number}"}
        lines.append(Event("partners", "partner.joined", "/old", f"o-{number}", str(who), at, data))
        model.take(lines[-1])
    chance.shuffle(lines)
    history = [
        PlainRecord(offset, structured(event, named=False).value)
        for offset, event in enumerate(lines)
    ]
    return Storm(log, model, poison, {("history.jsonl", 0): history})


class Driver:
    """A worker without a consumer group: it reads any partition from where it believes it stands."""

    def __init__(
        self,
        url: str,
        log: Mapping[Partition, Sequence[PlainRecord]],
        seed: int,
        options: PipelineOptions,
    ) -> None:
        self._url = url
        self._log = log
        self._options = options
        self._chance = random.Random(seed)
        self._believed: dict[Partition, int] = {}
        self.fenced = self.broken_off = self.counted = 0

    async def run(self) -> None:
        """Count until the ledger stands at every partition's end."""
        async with Database(self._url) as database:
            pipeline = Pipeline(database, self._options, clock=FakeClock(NOW))
            while True:
                try:
                    await pipeline.load()
                    while await self._batch(database, pipeline):
                        pass
                except DatabaseUnreachable:
                    self.broken_off += 1
                else:
                    return

    async def _look(self, database: Database) -> None:
        async with database.transaction() as conn:
            standing = await ledger.read(conn, self._options.cluster_id, set(self._log))
        for partition, entry in standing.items():
            if self._believed.get(partition) is None or self._chance.random() > ZOMBIE_SHARE:
                self._believed[partition] = entry.next_offset

    async def _batch(self, database: Database, pipeline: Pipeline) -> bool:
        """Count a batch; return whether there was anything left by what this driver believes."""
        await self._look(database)
        left = [key for key, records in self._log.items() if self._believed[key] < len(records)]
        if not left:
            return False
        chunks = []
        for partition in self._chance.sample(left, k=self._chance.randint(1, len(left))):
            position = self._believed[partition]
            end = position + self._chance.randint(1, BATCH_RECORDS_MAX)
            chunks.append(Chunk(*partition, position, self._log[partition][position:end]))
        outcome = await bisection.commit(pipeline, [pipeline.read(chunk) for chunk in chunks])
        self.fenced += len(outcome.fenced)
        self.counted += outcome.counted
        for partition, entry in outcome.fenced.items():
            self._believed[partition] = entry.next_offset
        return True


async def _kill_backends(database: Database, chance: random.Random, over: asyncio.Event) -> int:
    """Terminate backends of the drivers, one after another, until it is `over`; return how many."""
    killed = 0
    while not over.is_set():
        async with database.transaction() as conn:
            found = await conn.execute(
                text("""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()
                   AND state <> 'idle' AND query ~* :wanted
                 LIMIT 1
                """),
                {"wanted": chance.choice(("COPY", "INSERT", "UPDATE", "COMMIT", "SELECT"))},
            )
            killed += len(list(found))
        await asyncio.sleep(0.02)
    return killed


def with_thresholds(thresholds: Sequence[int]) -> Catalog:
    """Return the shipped catalog with the ambassador's levels at so many partners."""
    shipped = load.load(load.SHIPPED)
    return replace(
        shipped,
        types=tuple(
            replace(badge_type, levels=_at(badge_type.levels, thresholds))
            if badge_type.code == "ambassador"
            else badge_type
            for badge_type in shipped.types
        ),
    )


def _at(levels: Sequence[LevelSpec], thresholds: Sequence[int]) -> tuple[LevelSpec, ...]:
    return tuple(
        replace(level, conditions={"partners_invited": {"gte": threshold}})
        for level, threshold in zip(levels, thresholds, strict=True)
    )


async def _apply_catalogs(database: Database, over: asyncio.Event) -> int:
    """Put one catalog and the other in force until it is `over`; the generous one is the last."""
    applied = 0
    while not over.is_set():
        applied += await _applied(database, with_thresholds(STRICT if applied % 2 else GENEROUS))
        await asyncio.sleep(0.05)
    while not await _applied(database, with_thresholds(GENEROUS)):
        pass
    return applied


async def _applied(database: Database, catalog: Catalog) -> bool:
    try:
        await apply_catalog(database, catalog, tenant_id=DEFAULT_TENANT, clock=FakeClock(NOW))
    except DatabaseUnreachable:
        return False  # its backend was among those killed
    return True


async def test_the_counters_equal_the_model(database: Database, database_url: str) -> None:
    await apply_catalog(database, with_thresholds(GENEROUS), tenant_id=DEFAULT_TENANT)
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it where the test fails
    storm = a_storm(seed)
    async with database.transaction() as conn:
        await ledger.open_partitions(conn, CLUSTER, dict.fromkeys(storm.log, 0))
        await ledger.open_partitions(conn, "file", dict.fromkeys(storm.history, 0))
    drivers = [
        Driver(database_url, storm.log, seed + number, terms()) for number in range(PIPELINES)
    ]
    silent = Driver(database_url, storm.history, seed, SILENT)
    over = asyncio.Event()
    async with asyncio.timeout(PATIENCE_S), Database(database_url) as other:
        killer = asyncio.create_task(_kill_backends(other, random.Random(seed), over))
        applier = asyncio.create_task(_apply_catalogs(database, over))
        await asyncio.gather(*(driver.run() for driver in (*drivers, silent)))
        over.set()
        killed, applied = await killer, await applier
    assert killed > 0
    assert sum(driver.broken_off for driver in drivers) > 0
    assert applied > 1
    assert sum(driver.fenced for driver in drivers) > 0
    # It was before the stream with some of its events.
    assert silent.counted > 12 * len(VETERANS)

    found = await rows(
        database,
        """
        SELECT DISTINCT name, user_id, number::int
          FROM nft_progress, jsonb_each_text(counters) AS counter (name, number)
        """,
    )
    assert {(name, who): number for name, who, number in found} == storm.model.counters()
    assert len(found) == len(storm.model.counters()), "two types show one counter differently"
    assert await column(database, "SELECT count(*) FROM processed_event") == [storm.model.events]
    letters = await rows(database, "SELECT reason, count(*) FROM dead_letter GROUP BY reason")
    assert dict(letters) == storm.poison
    await _badges_are_those_of_the_counters(database, storm.model)
    await _everything_is_said_that_came_live(database)


async def _everything_is_said_that_came_live(database: Database) -> None:
    """What only the file has stays unsaid, unless a catalog told of it; all else is said, once."""
    veterans = f"user_id = ANY('{{{','.join(map(str, VETERANS))}}}'::uuid[])"
    marked = "SELECT count(*) FROM processed_event WHERE silent"
    assert await column(database, marked) == [12 * len(VETERANS)]
    news = await rows(
        database,
        f"""
        SELECT badge.id, {veterans},
               (SELECT count(*) FROM outbox_message
                 WHERE event_type = 'badge.created' AND payload->>'instance_id' = badge.id::text),
               (SELECT count(*) FROM silenced_badge WHERE nft_instance_id = badge.id)
          FROM nft_instance AS badge
        """,
    )
    told = {"live": {(said, kept) for _, old, said, kept in news if not old}}
    told["old"] = {said + kept for _, old, said, kept in news if old}
    assert told == {"live": {(1, 0)}, "old": {1}}


async def _badges_are_those_of_the_counters(database: Database, model: Model) -> None:
    invited = model.plain["partner.joined"]
    reached = {who: sum(number >= each for each in GENEROUS) for who, number in invited.items()}
    wanted = {who: level for who, level in reached.items() if level}
    held = await rows(
        database,
        """
        SELECT user_id, current_level FROM nft_instance
          JOIN nft_type ON nft_type.id = type_id WHERE code = 'ambassador'
        """,
    )
    assert dict(held) == wanted
    assert len(set(wanted.values())) > 1
    assert len(held) == len(wanted)
    steps = await rows(
        database,
        """
        SELECT user_id, array_agg((details->>'level')::int),
               count(*) FILTER (WHERE action = 'created')
          FROM nft_audit_log JOIN nft_instance AS badge ON badge.id = nft_instance_id
          JOIN nft_type ON nft_type.id = badge.type_id
         WHERE code = 'ambassador' AND action IN ('created', 'level_up') GROUP BY user_id
        """,
    )
    assert {who: created for who, _, created in steps} == dict.fromkeys(wanted, 1)
    for who, levels, _ in steps:
        assert len(levels) == len(set(levels)), f"{who} was given a level twice"
        assert max(levels) == wanted[who]
    numbers = await rows(
        database, "SELECT user_id, array_agg(seq ORDER BY seq) FROM outbox_message GROUP BY user_id"
    )
    assert all(seqs == list(range(1, len(seqs) + 1)) for _, seqs in numbers)
    assert await column(
        database,
        """
        SELECT count(*) FROM (SELECT FROM nft_mint_queue WHERE status IN ('pending', 'sent')
         GROUP BY nft_instance_id, operation HAVING count(*) > 1) AS twice
        """,
    ) == [0]

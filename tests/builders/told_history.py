"""A history of chance that is told to a database, and kept for the model of it.

Two pipelines at once count partitions of their own; some partitions are counted in silence.
"""

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from ops.settings import DEFAULT_TENANT
from processor.batch.admin import BadgeRequest
from processor.batch.pipeline import Pipeline
from processor.catalog.job import JobRunner, SliceSize
from processor.events.chunks import Chunk, PlainRecord
from store import catalogs
from store.catalogs import Applied, CountersPending
from store.engine import Database
from store.exact_json import dumped
from tests.builders.chance import USERS, CatalogTeller, MessageTeller, compiled
from tests.builders.clock import FakeClock
from tests.builders.commit_order import TOPIC, Told, note_commits
from tests.builders.messages import (
    NOW,
    Log,
    a_pipeline,
    a_wallet,
    an_address,
    count,
    open_ledger,
)
from tests.builders.plain_rules import Command, Message, Rules, Run
from tests.builders.sql import column, rows

# Partitions of the first pipeline, of the second, and of those who count in silence.
LOUD = ((0, 1), (2, 3))
SILENT = {4: Run(publish=False, mint=False), 5: Run(mint=False), 6: Run(publish=False)}
PARTITIONS = (*LOUD[0], *LOUD[1], *SILENT)


class FixedSize(SliceSize):
    """Slices whose size does not follow what they take."""

    def took(self, seconds: float) -> None:
        del seconds


class History:
    """Does something of chance to a database, and notes what.

    `told` is what another one has told before.
    """

    def __init__(self, database: Database, chance: random.Random, told: Told | None = None) -> None:
        self.told = told or Told(
            {each: [] for each in PARTITIONS}, dict.fromkeys(PARTITIONS, Run()) | SILENT
        )
        self.wallets = USERS[:2]
        self._database = database
        self._chance = chance
        self._catalogs = CatalogTeller(chance)
        self._messages = MessageTeller(chance)
        self._runner = JobRunner(database, DEFAULT_TENANT, FakeClock(NOW), FixedSize(2))
        # A job that is to be silent is not worked off beside a batch that ends a silence: who of
        # them was first is then not seen from the order of their commits.
        self._beside = True

    async def begin(self) -> None:
        """Put a catalog in force, link wallets, and open the partitions."""
        await note_commits(self._database)
        await self._apply(self._catalogs.first())
        log = Log()
        log.append(*(a_wallet(user, an_address(n)) for n, user in enumerate(self.wallets)))
        await count(self._database, log)
        await open_ledger(
            self._database,
            [Chunk(TOPIC, each, 0, [PlainRecord(0, b"")]) for each in PARTITIONS],
        )

    async def step(self) -> None:
        """Do something."""
        steps = (self.stream, self.fill, self.catalog, self.work, self.revoke, self.award)
        (step,) = self._chance.choices(steps, (46, 24, 12, 6, 6, 6))
        await step()

    async def end(self) -> None:
        """Work off what is left of a catalog."""
        await self._runner.work_off()

    async def stream(self) -> None:
        """Count in two pipelines at once, and work at a job beside them."""
        if self._chance.random() < 0.5:
            self._messages.somebody_joins()
        parts = [list(self._batches(partitions)) for partitions in LOUD]
        beside = [self.slices(self._chance.randrange(4))] if self._beside else []
        await asyncio.gather(*(self._count(batches) for batches in parts), *beside)

    async def fill(self) -> None:
        """Count in silence."""
        partition = self._chance.choice(sorted(SILENT))
        run = SILENT[partition]
        await self._count(list(self._batches([partition])), publish=run.publish, mint=run.mint)

    def tell(self, partition: int, number: int) -> list[Message]:
        """Tell messages that nobody counts yet."""
        messages = self._messages.some(number)
        self.told.messages[partition] += messages
        return messages

    def _batches(self, partitions: Sequence[int]) -> Iterator[list[Chunk]]:
        """Yield what is told to partitions in batches of one or both of them."""
        for _ in range(self._chance.randint(1, 4)):
            batch = []
            size = self._chance.choice((1, 1, 3, 8))
            for each in partitions:
                position = len(self.told.messages[each])
                messages = self.tell(each, self._chance.randint(0, size))
                if messages:
                    batch.append(a_chunk(each, position, messages))
            if batch:
                yield batch

    async def _count(self, batches: Iterable[Sequence[Chunk]], **options: Any) -> None:
        pipeline = await a_pipeline(self._database, **options)
        for batch in batches:
            outcome = await pipeline.run(batch)
            assert not outcome.fenced
            assert sum(len(each.records) for each in batch) == outcome.records

    async def slices(self, number: int) -> None:
        """Do some slices of an open job that give or take over something."""
        for _ in range(number):
            if await column(self._database, _METADATA_IS_NEXT):
                # What a badge shows is read without its counters' locks.
                return
            await self._runner._next(only_counters=False, idle_for=None)

    async def catalog(self, *, silent: bool | None = None) -> None:
        """Put another catalog in force, and leave what follows from it, loud or not."""
        options = [(False, False)] * 3 + [(True, True), (False, True)]
        silent, no_mint = self._chance.choice(options if silent is None else [(silent, silent)])
        await self._apply(
            self._catalogs.following(self.told.catalogs[-1]), silent=silent, no_mint=no_mint
        )

    async def _apply(self, rules: Rules, *, silent: bool = False, no_mint: bool = False) -> None:
        options = {"silent": silent, "no_mint": no_mint}
        try:
            applied = await self._applied(rules, **options)
        except CountersPending:
            await self._runner.work_off(only_counters=True)
            applied = await self._applied(rules, **options)
        if applied.is_new:
            self.told.catalogs.append(rules)
            self._beside = not (silent or no_mint)

    async def _applied(self, rules: Rules, **options: bool) -> Applied:
        async with self._database.transaction() as conn:
            return await catalogs.apply(conn, compiled(rules), "admin", **options)

    async def work(self) -> None:
        """Work off a job."""
        await self._runner.work_off()

    async def revoke(self) -> None:
        """Revoke a badge."""
        listed = await rows(self._database, _ACTIVE)
        if listed:
            user, code = self._chance.choice(listed)
            await self._command("badge.revoke", user, code, reason="bought accounts")

    async def award(self) -> None:
        """Award a badge, or another after one that was revoked."""
        types = self.told.catalogs[-1].types
        code = self._chance.choice(sorted(types))
        levels = [None, *(each.level for each in types[code].levels)]
        user = self._chance.choice(USERS)
        if revoked := await rows(self._database, _REVOKED):
            user, code = self._chance.choice(revoked)
            levels = [None, *(each.level for each in types[code].levels)]
        level = self._chance.choice(levels)
        await self._command("badge.award", user, code, level=level)

    async def _command(self, kind: str, user: UUID, code: str, **more: Any) -> None:
        external_id = f"command-{len(self.told.commands)}"
        request = BadgeRequest(kind, user, code, external_id, **more)
        self.told.commands[external_id] = Command(kind, user, code, external_id, **more)
        pipeline: Pipeline = await a_pipeline(self._database)
        assert await pipeline.apply(request.command(DEFAULT_TENANT)) is None


def a_chunk(partition: int, position: int, messages: Iterable[Any]) -> Chunk:
    """Messages as records of a partition, from a position on."""
    records = [
        PlainRecord(offset, dumped(each).encode(), timestamp=1_780_000_000_000 + offset)
        for offset, each in enumerate(messages, position)
    ]
    return Chunk(TOPIC, partition, position, records)


_OF_BADGES = """
    SELECT user_id, code FROM nft_instance JOIN nft_type ON nft_type.id = type_id
     GROUP BY user_id, code HAVING (array_agg(status ORDER BY ordinal DESC))[1] = '{}' ORDER BY 1, 2
"""
_ACTIVE, _REVOKED = _OF_BADGES.format("active"), _OF_BADGES.format("revoked")
_METADATA_IS_NEXT = "SELECT 1 FROM catalog_job WHERE state = 'metadata'"

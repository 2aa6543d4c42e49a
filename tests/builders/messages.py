"""Messages, chunks and a pipeline for tests, with everything that does not matter left out of
sight."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from ops.settings import DEFAULT_TENANT
from processor.batch.options import PipelineOptions
from processor.batch.pipeline import Pipeline
from processor.catalog import load
from processor.events.chunks import Chunk, PlainRecord
from store import catalogs, ledger
from store.engine import Database
from store.values.names import Partition
from tests.builders.clock import FakeClock

CLUSTER = "cluster-of-tests"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TOPICS = {
    "quest": "laurel.quests",
    "city": "laurel.cities",
    "review": "laurel.reviews",
    "partner": "laurel.partners",
    "voucher": "laurel.partners",
    "wallet": "laurel.wallets",
    "badge": "laurel.commands",
    "achievement": "laurel.commands",
}
_numbers = itertools.count(1)


def user(number: int) -> UUID:
    """The user called `number`."""
    return UUID(int=0x10000 + number)


ALICE = user(1)
BOB = user(2)


def an_event(
    kind: str,
    who: UUID | str = ALICE,
    fields: Mapping[str, Any] | None = None,
    /,
    **attributes: Any,
) -> dict[str, Any]:
    """A CloudEvent as a document; `attributes` replace or add, None removes."""
    event = {
        "specversion": "1.0",
        "id": f"event-{next(_numbers)}",
        "source": "/quest-service/eu",
        "type": kind,
        "subject": str(who),
        "time": NOW.isoformat(),
        "data": dict(fields or {}),
    }
    return {name: value for name, value in (event | attributes).items() if value is not None}


def a_quest(who: UUID = ALICE, /, **attributes: Any) -> dict[str, Any]:
    """A completed quest."""
    return an_event("quest.completed", who, {"quest_id": f"q-{next(_numbers)}"}, **attributes)


def a_visit(who: UUID = ALICE, city: str = "berlin", /, **attributes: Any) -> dict[str, Any]:
    """A visit to a city."""
    return an_event("city.visited", who, {"city_id": city}, **attributes)


def a_partner(who: UUID = ALICE, /, **attributes: Any) -> dict[str, Any]:
    """A partner who joined."""
    return an_event("partner.joined", who, {"partner_id": f"p-{next(_numbers)}"}, **attributes)


def a_review(
    who: UUID, review: str, /, *, removed: bool = False, **attributes: Any
) -> dict[str, Any]:
    """A review posted, or removed."""
    return an_event(
        "review.removed" if removed else "review.posted", who, {"review_id": review}, **attributes
    )


def a_wallet(
    subject: UUID, address: str, at: datetime = NOW, *, linked: bool = True
) -> dict[str, Any]:
    """A wallet linked, or unlinked."""
    kind = "wallet.linked" if linked else "wallet.unlinked"
    return an_event(kind, subject, {"address": address}, time=at.isoformat())


def a_command(
    kind: str, subject: UUID = ALICE, external_id: str | None = None, **data: Any
) -> dict[str, Any]:
    """badge.mint, badge.burn or badge.revoke."""
    wish = {"external_id": external_id or f"command-{next(_numbers)}"} | data
    return an_event(f"badge.{kind}", subject, wish, source="/connect-service")


def an_address(number: int) -> str:
    """A TON address in raw form."""
    return f"0:{number:064x}"


def encoded(message: Mapping[str, Any] | bytes | None) -> bytes | None:
    """A message as the bytes of a record."""
    return (
        message if message is None or isinstance(message, bytes) else json.dumps(message).encode()
    )


def topic_of(message: Mapping[str, Any]) -> str:
    """The topic that the contract names for a message."""
    return TOPICS[str(message["type"]).partition(".")[0]]


class Log:
    """A tiny Kafka.

    Appends messages to partitions, and hands out chunks that continue each other.
    """

    def __init__(self) -> None:
        self.records: dict[Partition, list[PlainRecord]] = {}
        self.read: dict[Partition, int] = {}

    def append(
        self,
        *messages: Mapping[str, Any] | bytes | None,
        topic: str | None = None,
        partition: int = 0,
    ) -> None:
        """Add messages, each to its own topic unless `topic` is given."""
        for message in messages:
            name = topic or topic_of(message)  # type: ignore[arg-type]
            records = self.records.setdefault((name, partition), [])
            offset = len(records)
            records.append(
                PlainRecord(offset, encoded(message), timestamp=1_780_000_000_000 + offset)
            )

    def chunks(self, *, records_max: int = 5_000, again: bool = False) -> list[Chunk]:
        """What was appended since the last call; from the beginning with `again`."""
        found: list[Chunk] = []
        for (topic, partition), records in self.records.items():
            start = 0 if again else self.read.get((topic, partition), 0)
            found += [
                Chunk(topic, partition, position, records[position : position + records_max])
                for position in range(start, len(records), records_max)
            ]
            self.read[topic, partition] = len(records)
        return found


def terms(**changes: Any) -> PipelineOptions:
    """Terms as the default settings make them."""
    given: dict[str, Any] = {
        "cluster_id": CLUSTER,
        "topic_prefix": "laurel",
        "tenant_id": DEFAULT_TENANT,
        "future_tolerance": timedelta(minutes=10),
    }
    return PipelineOptions(**(given | changes))


async def open_ledger(database: Database, chunks: Iterable[Chunk]) -> None:
    """Begin the ledger of the chunks' partitions at their first position."""
    starts: dict[Partition, int] = {}
    for chunk in chunks:
        starts.setdefault(chunk.key, chunk.position)
    async with database.transaction() as conn:
        await ledger.open_partitions(conn, CLUSTER, starts)


async def clear(database: Database) -> None:
    """Forget everything that was counted.

    The audit log keeps its rows, of badges that are no more.
    """
    tables = "nft_progress, progress_member, processed_event, offset_ledger, outbox_message, "
    tables += (
        "outbox_sequence, nft_instance, user_wallet, waiting_command, command_log, dead_letter"
    )
    async with database.transaction() as conn:
        await conn.execute(text(f"TRUNCATE {tables} CASCADE"))


async def with_catalog(database: Database) -> None:
    """Put the shipped catalog in force."""
    async with database.transaction() as conn:
        await catalogs.apply(conn, load.load(load.SHIPPED), "admin")


async def a_pipeline(database: Database, **changes: Any) -> Pipeline:
    """A pipeline on the catalog in force, with a clock that stands at NOW."""
    pipeline = Pipeline(database, terms(**changes), clock=FakeClock(NOW))
    await pipeline.load()
    return pipeline


async def count(
    database: Database, log: Log, pipeline: Pipeline | None = None, *, batch_chunks: int = 100
) -> None:
    """Count what `log` has, in batches of so many chunks."""
    counting = pipeline or await a_pipeline(database)
    chunks: Sequence[Chunk] = log.chunks()
    await open_ledger(database, chunks)
    for start in range(0, len(chunks), batch_chunks):
        await counting.run(chunks[start : start + batch_chunks])

"""Laurel's pipeline over one connection, whose CPU can be read from outside."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from benchmarks._events import Partition, by_partition
from ops.settings import DEFAULT_TENANT
from processor.batch.options import PipelineOptions
from processor.batch.pipeline import Pipeline
from store import ledger
from store.engine import Database

CLUSTER = "benchmark"


@dataclass(frozen=True, slots=True)
class Counting:
    """A pipeline, and the backend of PostgreSQL that is its connection."""

    pipeline: Pipeline
    backend: int

    @classmethod
    async def over(cls, db: Database) -> Self:
        """Begin the ledger of all partitions."""
        options = PipelineOptions(CLUSTER, "laurel", DEFAULT_TENANT, timedelta(days=3650))
        pipeline = Pipeline(db, options)
        await pipeline.load()
        partitions: dict[Partition, int] = dict.fromkeys(by_partition(()), 0)
        async with db.transaction() as conn:
            await ledger.open_partitions(conn, CLUSTER, partitions)
            # The pool's only connection: whoever counts next has it.
            backend = (await conn.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
        return cls(pipeline, backend)

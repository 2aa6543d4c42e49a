"""Read history on a cluster of Apache Spark, into a table as DuckDB makes one.

Executors read parts of files by the stream's own reader, and write rows as Parquet into a directory
that all machines share. Spark finds the identities that came more than once, and deals out users
into slices. A slice is then added up here, by the statements of event_table.py over its files: of
what a history comes to there is one definition.

Nothing else imports pyspark: `pip install 'laurel[spark]'`, and Java 17.
"""

import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import UUID

import duckdb
import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - as everybody writes it

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import Permanent, UsageError
from ops.lifecycle import Stop
from ops.progress import went_on
from processor.events.event import Event
from processor.history import event_table
from processor.history.event_rows import CONTRIBUTIONS, EVENTS
from processor.history.event_table import SLICE_EVENTS, SealedEvents, slices_of
from processor.history.inputs import file_parts
from processor.history.inputs.reading import Inputs
from processor.history.kept_records import KeptRecords
from processor.history.part_reading import PartRead, PartTask, kept_in
from processor.history.reading import ReadBy, Readers
from processor.history.scan import Found, ScanListener
from processor.history.user_slice import UserSlice

Result = TypeVar("Result")

_LOOK_S = 0.2
# Tasks that deal out users: each takes some slices, one after the other.
_DEALERS_MAX = 200
# Of what Spark says of a failure: a stack of Java's follows.
_SAID_MAX = 2_000
_SCHEMAS = {
    "event": EVENTS,
    "contribution": CONTRIBUTIONS,
    "repeat": pa.schema(
        [
            ("place", pa.int64()),
            ("key", pa.binary()),
            ("conflicts", pa.bool_()),
            ("first_place", pa.int64()),
        ]
    ),
}


class SparkFailed(Permanent):
    """Spark cannot be begun, or a job of it has failed."""

    code = "spark_failed"


class _Stopped(Exception):
    """The end was asked for while a job ran."""


@dataclass(frozen=True, slots=True)
class SparkCluster:
    """Where Spark runs.

    Args:
        master: its URL; None: what Spark's own configuration says, else all cores of this machine.
        shared: a directory that all machines see by this path; None: where temporary files go.
    """

    master: str | None = None
    shared: Path | None = None


@contextmanager
def session(cluster: SparkCluster) -> Iterator[SparkSession]:
    """Give a session, which ends afterwards.

    Raises:
        SparkFailed: there is no Java, or no such cluster.
    """
    # It says of each connection that it ends.
    logging.getLogger("py4j").setLevel(logging.WARNING)
    builder = SparkSession.builder.appName("laurel backfill")
    settings: dict[str, Any] = {
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.showConsoleProgress": "false",
    }
    if cluster.master is not None:
        builder = builder.master(cluster.master)
    if cluster.master is not None and cluster.master.startswith("local"):
        # Its processes are this one's; nothing listens where others could reach it.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        settings |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
        }
    try:
        spark = builder.config(map=settings).getOrCreate()
    except (PySparkException, Py4JError) as error:
        raise SparkFailed(f"Spark does not begin: {_said(error)}") from error
    try:
        yield spark
    finally:
        spark.stop()


@contextmanager
def opened(
    spark: SparkSession, cluster: SparkCluster, memory_bytes: int, threads: int
) -> Iterator["SparkScan"]:
    """Give an empty scan; its files go afterwards. Arguments as those of event_table.opened."""
    with (
        TemporaryDirectory(prefix="laurel-spark-", dir=cluster.shared) as directory,
        event_table.database(None, memory_bytes, threads) as connection,
    ):
        table = SparkTable(connection, Path(directory).absolute())
        yield SparkScan(table, KeptRecords(connection), spark=spark)


class SparkTable(SealedEvents):
    """Events in files of Parquet, by slices.

    Args:
        connection: to a database without tables.
        directory: where the files are.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, directory: Path) -> None:
        super().__init__(connection)
        self.directory = directory
        self._files: dict[tuple[str, int], list[Path]] = {}
        for name, schema in _SCHEMAS.items():
            self._register("rows", schema.empty_table())
            self._db.execute(f"CREATE TABLE no_{name} AS FROM rows")

    def seal(self, read_by: bytes, events: int, slices: int) -> None:
        """Take in what Spark has made of the directory; arguments as EventTable.seal."""
        self.number_of_events = events
        repeats = sorted((self.directory / "repeat").glob("*.parquet"))
        self._db.execute(f"CREATE TABLE repeat AS {_selected('repeat', repeats)}")
        for name in ("event", "contribution"):
            for each in sorted((self.directory / name).glob("slice=*/*.parquet")):
                number = int(each.parent.name.removeprefix("slice="))
                self._files.setdefault((name, number), []).append(each)
            every = [file for (of, _), files in self._files.items() if of == name for file in files]
            self._db.execute(f"CREATE VIEW main.{name} AS {_selected(name, every)}")
        self._sealed(read_by, slices)

    def slice(self, number: int, without: Collection[bytes] = ()) -> UserSlice:
        """Return a slice: see SealedEvents."""
        with self._within(number):
            return super().slice(number, without)

    def origins(
        self, number: int, counters: Mapping[UUID, Collection[int]], without: Collection[bytes] = ()
    ) -> Mapping[UUID, Event]:
        """Return of users the latest event: see SealedEvents."""
        with self._within(number):
            return super().origins(number, counters, without)

    @contextmanager
    def _within(self, number: int) -> Iterator[None]:
        """Have a slice's files alone looked at: temporary views come before others."""
        names = ("event", "contribution")
        for name in names:
            files = self._files.get((name, number), ())
            self._db.execute(f"CREATE TEMP VIEW {name} AS {_selected(name, files)}")
        try:
            yield
        finally:
            for name in names:
                self._db.execute(f"DROP VIEW temp.{name}")


@dataclass(slots=True)
class SparkScan(Found):
    """What sources hold, read by Spark."""

    table: SparkTable
    spark: SparkSession | None = None

    def read_inputs(
        self,
        inputs: Inputs,
        by: ReadBy,
        stop: Stop,
        listener: ScanListener,
        *,
        slice_events: int = SLICE_EVENTS,
        part_bytes: int = file_parts.PART_BYTES,
        clock: Clock = SYSTEM_CLOCK,
    ) -> bool:
        """Read all; return False where the end was asked for meanwhile.

        Raises:
            UsageError: a source cannot be read, or is broken.
            SparkFailed: a job has failed.
        """
        if self.spark is None:
            raise RuntimeError("this scan has no session")
        jobs = _Jobs(self.spark, stop)
        task = PartTask(inputs, by, clock.now(), self.table.directory)
        try:
            read = _read(jobs, task, part_bytes)
            events = sum(each.events for each in read)
            self.records = sum(each.records for each in read)
            self.read_bytes = inputs.size or 0
            listener.reached(self.records, self.read_bytes)
            for rows in kept_in(each.files["kept"] for each in read if "kept" in each.files):
                self.kept.add_rows(rows)
                went_on()
            slices = slices_of(events, slice_events)
            _deal_out(jobs, read, slices, self.table.directory)
        except _Stopped:
            return False
        basis = Readers(by, 0).basis
        self.table.seal(repr((basis, self.kept.digest())).encode(), events, slices)
        went_on()
        return True


class _Jobs:
    """Runs jobs, of which each ends early where the end is asked for."""

    def __init__(self, spark: SparkSession, stop: Stop) -> None:
        self.spark = spark
        self._stop = stop

    def run(self, job: Callable[[], Result]) -> Result:
        """Return what a job gives.

        Raises:
            SparkFailed: it has failed.
            _Stopped: the end was asked for.
        """
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(job)
            while not running.done():
                try:
                    running.exception(_LOOK_S)
                except NotYet:
                    # Spark gives up by itself on a task that fails or an executor that is lost.
                    went_on()
                if self._stop.requested:
                    self.spark.sparkContext.cancelAllJobs()
            try:
                result = running.result()
            except (PySparkException, Py4JError) as error:
                if self._stop.requested:
                    raise _Stopped from error
                raise SparkFailed(f"A job of Spark has failed: {_said(error)}") from error
        if self._stop.requested:
            raise _Stopped
        return result

    def each(self, work: Callable[[Any], Result], on: Sequence[Any]) -> list[Result]:
        """Return what `work` gives of each: a task each."""
        if not on:
            return []
        context = self.spark.sparkContext
        return self.run(lambda: context.parallelize(on, len(on)).map(work).collect())


def _read(jobs: _Jobs, task: PartTask, part_bytes: int) -> list[PartRead]:
    parts = file_parts.parts_of(task.inputs, part_bytes)
    counted = jobs.each(task.count, parts)
    _refuse(map(attrgetter("error"), counted))
    firsts: list[int] = []
    for source in range(len(task.inputs.files)):
        lines = [c.lines for p, c in zip(parts, counted, strict=True) if p.source == source]
        firsts += list(accumulate(lines, initial=0))[:-1]
    read = jobs.each(task.read, list(zip(parts, firsts, strict=True)))
    _refuse(map(attrgetter("error"), read))
    return read


def _refuse(errors: Iterator[str | None]) -> None:
    for each in errors:
        if each is not None:
            raise UsageError(each)


def _deal_out(jobs: _Jobs, read: Sequence[PartRead], slices: int, directory: Path) -> None:
    """Find repetitions, and write events and what they add by slices."""
    for name in ("event", "contribution"):
        # Of these alone: what a run of a task wrote that was not taken lies beside them.
        files = [_uri(each.files[name]) for each in read if name in each.files]
        if not files:
            continue
        rows = jobs.spark.read.parquet(*files)
        if name == "event":
            _write(jobs, _repeats(rows), directory / "repeat")
        dealt = rows.withColumn("slice", F.expr(f"bucket % {slices}"))
        dealt = dealt.repartition(min(slices, _DEALERS_MAX), "slice")
        _write(jobs, dealt, directory / name, "slice")


def _repeats(events: DataFrame) -> DataFrame:
    """Return the events whose identity an earlier one has: the table `repeat` of event_table.py."""
    first = F.min(F.struct("place", "fingerprint")).alias("first")
    twice = events.groupBy("key").agg(first, F.count("*").alias("times")).where("times > 1")
    found = events.select("place", "key", "fingerprint").join(twice, "key")
    return found.where("place <> first.place").selectExpr(
        "place",
        "key",
        "fingerprint <> first.fingerprint AS conflicts",
        "first.place AS first_place",
    )


def _write(jobs: _Jobs, rows: DataFrame, directory: Path, *by: str) -> None:
    jobs.run(lambda: rows.write.partitionBy(*by).parquet(_uri(directory)))


def _selected(name: str, files: Sequence[Path]) -> str:
    """Return the statement that gives rows of the files as EventTable has them."""
    if not files:
        return f"FROM no_{name}"  # of Parquet's files it takes one at least
    listed = ", ".join("'{}'".format(str(each).replace("'", "''")) for each in files)
    names = [each.name for each in _SCHEMAS[name]]
    columns = ", ".join("bucket::UINTEGER AS bucket" if n == "bucket" else n for n in names)
    return f"SELECT {columns} FROM read_parquet([{listed}], hive_partitioning = false)"  # noqa: S608


def _uri(path: Path) -> str:
    # Without it Spark looks where the cluster's own files are, HDFS perhaps.
    return f"file:{path}"


def _said(error: Exception) -> str:
    """Return what Spark says, without the stacks of Java's that follow."""
    java = getattr(error, "java_exception", None)
    said = str(error) if java is None else str(java.getMessage())
    return said.partition("\n\tat ")[0].partition("\nDriver stacktrace:")[0][-_SAID_MAX:].strip()

"""What Spark makes of files is what DuckDB makes of them, row by row.

pyspark is an extra of its own: where it is missing, or Java is, these tests are skipped, also where
every other part is required.
"""

import gzip
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace as replaced

from ops.errors import UsageError
from ops.lifecycle import Stop
from ops.settings import Settings
from processor.events.event import Event
from processor.history import scan
from processor.history.inputs.reading import Inputs, inputs_of
from processor.history.reading import ReadBy, Readers
from processor.history.scan import Found, Scan
from processor.history.user_slice import UserSlice
from store.engine import Database
from store.exact_json import dumped
from tests.builders.backfills import a_file, backfill
from tests.builders.chance import CatalogTeller, MessageTeller, compiled
from tests.builders.messages import ALICE, a_partner
from tests.builders.spark import needs_spark
from tests.processor.history.test_event_table import numbered, read_by

needs_spark()

from processor.history import spark_history  # noqa: E402
from processor.history.spark_history import SparkCluster, SparkScan  # noqa: E402

pytestmark = [
    pytest.mark.integration,
    # py4j leaves its connections to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PART_BYTES = 25_000


@pytest.fixture
def spark() -> Iterator[Any]:
    with spark_history.session(SparkCluster("local[2]")) as session:
        yield session


class Silent:
    def reached(self, records: int, read_bytes: int) -> None: ...


def some_files(chance: random.Random, directory: Path) -> tuple[Inputs, ReadBy]:
    """Write messages of chance, lines that are none, and identities that come again."""
    by = read_by(numbered(compiled(CatalogTeller(chance).first())))
    messages = MessageTeller(chance).some(600)
    for each in chance.sample(messages, 60):
        changed = {**each, "subject": str(UUID(int=chance.randint(1, 9)))}
        messages.insert(chance.randrange(len(messages)), chance.choice([each, changed]))
    lines = [dumped(each).encode() for each in messages]
    for broken in (b"{", b"", b"  ", b"\xff", b'{"specversion":"1.0"}', b"x" * 9_000):
        for _ in range(4):
            lines.insert(chance.randrange(len(lines)), broken + chance.choice([b"", b"\r"]))
    third = len(lines) // 3
    texts = [b"\n".join(lines[n * third : (n + 1) * third]) for n in range(3)]
    (directory / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + texts[0] + b"\n")
    (directory / "b.jsonl.gz").write_bytes(gzip.compress(texts[1]))
    (directory / "c it's.jsonl").write_bytes(texts[2])
    (directory / "empty.jsonl").write_bytes(b"")
    return inputs_of([str(directory)]), replace(
        by, record_bytes_max=8_000, future_tolerance=timedelta(days=9_999)
    )


def in_order(found: UserSlice) -> tuple[object, ...]:
    events = found.events
    rows = zip(
        map(bytes, events.keys),
        *(
            column.tolist()
            for column in (events.fingerprints, events.days, events.heard, events.places)
        ),
        strict=True,
    )
    return found.number, list(rows), sorted(found.totals), sorted(found.members)


def held_equal(found: Found, expected: Found, chance: random.Random) -> None:
    table, other = found.table, expected.table
    assert (found.records, table.number_of_events) == (expected.records, other.number_of_events)
    assert (table.number_of_repeats, table.number_of_conflicts, table.slices) == (
        other.number_of_repeats,
        other.number_of_conflicts,
        other.slices,
    )
    assert table.number_of_repeats
    assert table.number_of_conflicts
    assert list(found.refused()) == list(expected.refused())
    assert list(found.kept.others()) == list(expected.kept.others())
    assert list(table.repeated()) == list(other.repeated())
    # So a run that was begun by one engine goes on by the other.
    assert table.digest == other.digest
    keys = [bytes(key) for n in range(other.slices) for key in other.slice(n).events.keys]
    for without in ((), chance.sample(keys, len(keys) // 3)):
        for number in range(other.slices):
            of_slice = other.slice(number, without)
            assert in_order(table.slice(number, without)) == in_order(of_slice)
            wanted: dict[UUID, list[int]] = {}
            for total in of_slice.totals:
                wanted.setdefault(UUID(bytes=total.user), []).append(total.counter_id)
            said = other.origins(number, wanted, without)
            assert {u: e.key for u, e in table.origins(number, wanted, without).items()} == {
                u: e.key for u, e in said.items()
            }
    some = chance.sample(keys, 20)
    by_key = [told(each) for each in other.events(some)]
    assert [told(each) for each in table.events(some)] == by_key
    places = [each.place for each in expected.table.repeated()]
    assert list(map(told, table.at(places))) == list(map(told, other.at(places)))


def told(event: Event) -> tuple[object, ...]:
    """Return an event, whose parts come in any order."""
    return replaced(event, contributions=()), sorted(event.contributions, key=repr)


def by_both(spark: Any, inputs: Inputs, by: ReadBy, cluster: SparkCluster, seed: int) -> None:
    slice_events = random.Random(seed).randint(20, 300)
    with (
        scan.opened(None, 200 << 20, 1) as expected,
        spark_history.opened(spark, cluster, 200 << 20, 1) as found,
    ):
        by_duckdb(expected, inputs, by, slice_events)
        assert read(found, inputs, by, slice_events)
        held_equal(found, expected, random.Random(seed))


def by_duckdb(expected: Scan, inputs: Inputs, by: ReadBy, slice_events: int) -> None:
    readers = Readers(by, 0)
    for piece in readers.read(inputs.pieces(by.record_bytes_max)):
        for rows in piece.rows:
            expected.table.add(rows)
        expected.kept.add(piece)
        expected.records += piece.records
    basis = repr((readers.basis, expected.kept.digest())).encode()
    expected.table.seal(basis, slice_events)


def read(found: SparkScan, inputs: Inputs, by: ReadBy, slice_events: int = 100) -> bool:
    return found.read_inputs(
        inputs, by, Stop(), Silent(), slice_events=slice_events, part_bytes=PART_BYTES
    )


@pytest.mark.parametrize("seed", range(3))
def test_spark_makes_of_files_what_duckdb_makes_of_them(
    spark: Any, tmp_path: Path, seed: int
) -> None:
    inputs, by = some_files(random.Random(seed), tmp_path)
    by_both(spark, inputs, by, SparkCluster(), seed)


def test_a_source_that_is_broken_is_named(spark: Any, tmp_path: Path) -> None:
    inputs, by = some_files(random.Random(1), tmp_path)
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    again = inputs_of([str(tmp_path)])
    with (
        spark_history.opened(spark, SparkCluster(), 200 << 20, 1) as found,
        pytest.raises(UsageError, match="gz: its gzip data are broken or cut off"),
    ):
        read(found, again, by)
    with (
        spark_history.opened(spark, SparkCluster(), 200 << 20, 1) as found,
        pytest.raises(UsageError, match="written to while it is read"),
    ):
        read(found, inputs, by)


def test_a_run_whose_end_is_asked_for_ends(spark: Any, tmp_path: Path) -> None:
    inputs, by = some_files(random.Random(1), tmp_path)
    stop = Stop()
    stop.request()
    with spark_history.opened(spark, SparkCluster(), 200 << 20, 1) as found:
        assert not found.read_inputs(inputs, by, stop, Silent())


def test_nothing_is_read_of_files_without_events(spark: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{\n\n")
    by = read_by(numbered(compiled(CatalogTeller(random.Random(1)).first())))
    with spark_history.opened(spark, SparkCluster(), 200 << 20, 1) as found:
        assert read(found, inputs_of([str(tmp_path)]), by)
        assert (found.records, found.table.slices, len(list(found.refused()))) == (1, 1, 1)
        assert not len(found.table.slice(0).events)
        assert not found.table.events([b"0" * 16])


async def test_a_backfill_by_spark_counts_as_one_without(
    counting: Database, database_url: str, tmp_path: Path
) -> None:
    settings = Settings(database_url=database_url)
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(11)), b"{")
    first = (await backfill(settings, path, engine="spark", master="local[2]")).load
    second = (await backfill(settings, path)).load
    assert (first.read, first.counted, first.refused.total()) == (12, 11, 1)
    assert first.levels == {("ambassador", 3): 1}
    assert (second.read, second.counted, second.known) == (12, 0, 11)

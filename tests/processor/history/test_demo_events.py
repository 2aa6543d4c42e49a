"""The demo's year of events, through `laurel backfill` and through the stream: the same database."""

from pathlib import Path

from demo.events.generator import generate
from demo.events.options import Plan
from demo.oracle.catalog import read_badges
from ops.settings import Settings
from processor.catalog import load
from processor.events.chunks import Chunk, PlainRecord
from sandbox.postgres import PostgresServer
from store import migrations
from store.engine import Database
from tests.builders.backfills import backfill
from tests.builders.databases import empty_database
from tests.builders.equality import found, only_in
from tests.builders.messages import a_pipeline, open_ledger, with_catalog
from tests.builders.sql import rows

EVENTS = 1_200


def the_demos_lines() -> list[bytes]:
    """What the demo sends in structured mode, in its order: good, repeated, late and broken."""
    told = generate(Plan(events=EVENTS, travellers=60), read_badges(load.SHIPPED))
    return [
        record.value
        for record in told
        if record.value and b"\n" not in record.value
        if record.phase == 1 and not any(name.startswith("ce_") for name, _ in record.headers)
    ]


async def test_backfill_and_stream_leave_the_same_database(
    counting: Database, database_url: str, database_server: PostgresServer, tmp_path: Path
) -> None:
    lines = the_demos_lines()
    path = tmp_path / "year.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    async with empty_database(database_server) as url:
        await migrations.upgrade(url)
        async with Database(url) as streaming:
            await with_catalog(streaming)
            chunk = Chunk("year", 0, 0, [PlainRecord(n, line) for n, line in enumerate(lines)])
            await open_ledger(streaming, [chunk])
            silent = await a_pipeline(streaming, topic_prefix=None, publish=False, mint=False)
            outcome = await silent.run([chunk])
            # Some of them are no UTF-8, and nobody compares what they say.
            letters = len(await rows(streaming, "DELETE FROM dead_letter RETURNING id"))
            wanted = await found(streaming)
    report = (await backfill(Settings(database_url=database_url), path)).load
    held = await found(counting)
    differing = {
        name: (only_in(held[name], wanted[name]), only_in(wanted[name], held[name]))
        for name in wanted
        if held[name] != wanted[name]
    }
    assert differing == {}
    assert (report.counted, report.levels.total()) == (outcome.counted, outcome.levels)
    assert report.counted > EVENTS / 3
    assert report.refused.total() == letters > 5
    assert report.known + report.repeated == outcome.duplicates

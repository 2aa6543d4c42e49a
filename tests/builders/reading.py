"""Chunks read by the shipped catalog, without a database."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from ops.settings import DEFAULT_TENANT
from processor.batch.staging import ReadChunk, read_chunk
from processor.catalog import load
from processor.events.chunks import Chunk, PlainRecord
from processor.events.reader import EventReader
from store.values.catalog import EventSpec
from tests.builders.messages import NOW, encoded

UNHEARD = "weather.changed"
_SHIPPED = load.load(load.SHIPPED)
# The shipped catalog, and an event type that no counter listens to.
CATALOG = replace(_SHIPPED, events=(*_SHIPPED.events, EventSpec(UNHEARD, "weather", ())))
READER = EventReader(CATALOG, DEFAULT_TENANT, timedelta(minutes=10), None)
TOPIC, PARTITION, FIRST = "laurel.any", 3, 10


def a_read_chunk(*messages: dict[str, Any] | bytes) -> ReadChunk:
    """Messages of any type as one chunk, whose first record has the offset FIRST."""
    records = [
        PlainRecord(offset, encoded(message), key=b"key", headers=(("h", b"1"),))
        for offset, message in enumerate(messages, FIRST)
    ]
    return read_chunk(Chunk(TOPIC, PARTITION, FIRST, records), READER, NOW, topic=None)

"""A program: Quix Streams with the fair peer's merge as a sink, at the settings that serve it best.

It runs in an environment of its own (`make bench` makes it): Quix Streams wants older versions of
libraries that Laurel has, too.
"""

import asyncio
import os

import psycopg
from quixstreams import Application
from quixstreams.sinks.base.batch import SinkBatch
from quixstreams.sinks.base.sink import BatchingSink

from benchmarks import _fair_peer, _peers
from benchmarks._events import TOPICS

_BATCH = 20_000
_BATCH_S = 0.5  # for the last batch, which is not full


class MergeSink(BatchingSink):  # type: ignore[misc]
    """Counts what has come since the last checkpoint in one transaction.

    Quix would have a transaction for each partition: this is better for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        url = os.environ["LAUREL_DATABASE_URL"]
        self._conn = self._runner.run(psycopg.AsyncConnection.connect(url))

    def flush(self) -> None:
        """Count all batches."""
        if not self._batches:
            return
        staged, reached = [], {}
        for place, batch in self._batches.items():
            items = list(batch)
            staged.append(_peers.lines(item.value for item in items))
            reached[place] = items[-1].offset + 1
        self._runner.run(_fair_peer.merge(self._conn, "".join(staged), reached))
        self._batches.clear()

    def write(self, batch: SinkBatch) -> None:
        """Do nothing: `flush` has all of them."""


def main() -> None:
    """Count until somebody ends it."""
    app = Application(
        broker_address=os.environ["LAUREL_KAFKA_BROKERS"],
        consumer_group="quix",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        commit_every=_BATCH,
        commit_interval=_BATCH_S,
        consumer_extra_config={
            "queued.min.messages": 100_000,
            "fetch.wait.max.ms": 50,
            "isolation.level": "read_committed",
        },
        loglevel="ERROR",
    )
    sink = MergeSink()
    for name in TOPICS:
        topic = app.topic(name, value_deserializer="bytes", key_deserializer="bytes")
        app.dataframe(topic).sink(sink)
    app.run()


if __name__ == "__main__":
    main()

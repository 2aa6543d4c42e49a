"""A program: a naive Faust agent, which has each event counted in a transaction by SQLAlchemy."""

import asyncio
import os
from tempfile import TemporaryDirectory
from typing import Any

import faust
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks._events import TOPICS
from benchmarks._naive_peer import NaivePeer


async def main() -> None:
    """Count until somebody ends it."""
    url = make_url(os.environ["LAUREL_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    peer = NaivePeer(create_async_engine(url))
    with TemporaryDirectory() as directory:
        app = faust.App(
            "naive",
            broker=f"kafka://{os.environ['LAUREL_KAFKA_BROKERS']}",
            datadir=directory,
            web_enabled=False,
            topic_disable_leader=True,  # a topic of Faust's own, which has to be made first
            topic_allow_declare=False,
            loghandlers=[],
            logging_config=None,
        )

        async def count(stream: Any) -> None:  # noqa: ANN401 - Faust is untyped
            async for value in stream:
                await peer.count([value])

        app.agent(app.topic(*TOPICS, value_serializer="raw"), name="naive")(count)
        await app.start()
        await app.wait_until_stopped()


if __name__ == "__main__":
    asyncio.run(main())

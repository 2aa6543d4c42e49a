"""Sites for workers: a database with the catalog in force, and a broker with topics."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.broker import Broker
    from store.engine import Database
    from tests.e2e.workers import Site


@pytest.fixture
async def site(
    any_broker: "Broker", database: "Database", database_url: str, topic_prefix: str
) -> "Site":
    """A site on each broker in turn, ready to be worked at."""
    return await _made(any_broker, database, database_url, topic_prefix)


@pytest.fixture
async def kafka_site(
    kafka_broker: "Broker", database: "Database", database_url: str, topic_prefix: str
) -> "Site":
    """A site on a real Kafka."""
    return await _made(kafka_broker, database, database_url, topic_prefix)


async def _made(
    broker: "Broker", database: "Database", database_url: str, topic_prefix: str
) -> "Site":
    from tests.builders.messages import with_catalog
    from tests.e2e.workers import Site

    await with_catalog(database)
    made = Site(broker.address, database_url, topic_prefix)
    await made.make_topics()
    return made

"""Whatever a record holds, its batch is committed: it is counted, or a dead letter, and its neighbours count."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.events.chunks import Chunk, PlainRecord
from store import ledger
from store.engine import Database
from tests.builders.messages import ALICE, CLUSTER, a_partner, a_pipeline, clear, encoded
from tests.builders.raw_json import RawRecord, records
from tests.builders.sql import value


# As many examples as the profile says: `make fuzz` has more.
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(poison=st.lists(records(), min_size=1, max_size=12))
async def test_no_record_stops_its_neighbours(counting: Database, poison: list[RawRecord]) -> None:
    await clear(counting)
    pipeline = await a_pipeline(counting)
    chunks = []
    for topic in sorted({record.topic for record in poison} | {"partners"}):
        mine = [record for record in poison if record.topic == topic]
        found = [record.at(offset) for offset, record in enumerate(mine)]
        if topic == "partners":
            good = encoded(a_partner(ALICE))
            found.append(PlainRecord(len(found), good, timestamp=1))
        chunks.append(Chunk(f"laurel.{topic}", 0, 0, found))
    async with counting.transaction() as conn:
        await ledger.open_partitions(conn, CLUSTER, {chunk.key: 0 for chunk in chunks})
    outcome = await pipeline.run(chunks)
    assert outcome.records == len(poison) + 1
    assert outcome.fenced == {}
    assert outcome.counted >= 1
    assert await value(counting, "SELECT count(*) FROM dead_letter") == len(outcome.rejected)
    assert await value(counting, "SELECT count(*) FROM processed_event") == outcome.counted

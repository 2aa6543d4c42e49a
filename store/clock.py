"""PostgreSQL's clock beside the host's."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from ops.clock import SYSTEM_CLOCK, Clock
from ops.clock_reading import ClockReading
from store.engine import Database

# clock_timestamp() goes on within a transaction, as now() does not.
_NOW = text("SELECT clock_timestamp()")


async def read(db: Database, clock: Clock = SYSTEM_CLOCK) -> ClockReading:
    """Ask PostgreSQL for the time; the answer is as certain as the round trip was short.

    Raises:
        DatabaseUnreachable, StatementTimedOut: it does not say.
    """
    async with db.transaction() as conn:
        begun, asked = clock.monotonic(), clock.now()
        theirs: datetime = (await conn.execute(_NOW)).scalar_one()
        half = timedelta(seconds=(clock.monotonic() - begun) / 2)
    return ClockReading("PostgreSQL", asked + half, theirs.astimezone(UTC), half)

"""The naive peer: a first version, an event a transaction, by SQLAlchemy into the fair tables."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from benchmarks import _peers

_METADATA = MetaData()
_TYPE = Table("fair_type", _METADATA, Column("id", Uuid, primary_key=True), Column("code", Text))
_SEEN = Table(
    "fair_seen",
    _METADATA,
    Column("event_key", Uuid, primary_key=True),
    Column("occurred_at", DateTime(timezone=True)),
)
_VISITED = Table(
    "fair_visited",
    _METADATA,
    Column("user_id", Uuid, primary_key=True),
    Column("city", Text, primary_key=True),
)
_PROGRESS = Table(
    "fair_progress",
    _METADATA,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("user_id", Uuid),
    Column("type_id", Uuid),
    Column("counters", JSONB),
    Column("last_event_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True)),
)
_COUNTERS = {"explorer": {"quests": 0, "cities": 0}, "city_explorer": {"cities": 0}}


class NaivePeer:
    """Counts one event after the other.

    Args:
        engine: of a database with the tables of _fair_peer.py.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._types: dict[str, UUID] = {}

    async def count(self, values: Iterable[bytes]) -> None:
        """Count each of `values` in a transaction of its own."""
        for value in values:
            event = _peers.decode(value)
            async with self._engine.begin() as conn:
                await self._count(conn, event)

    async def _count(self, conn: AsyncConnection, event: _peers.CloudEvent) -> None:
        seen = insert(_SEEN).values(event_key=UUID(_peers.event_key(event)), occurred_at=event.time)
        if (await conn.execute(seen.on_conflict_do_nothing())).rowcount == 0:
            return
        if not self._types:
            self._types = {row.code: row.id for row in await conn.execute(select(_TYPE))}
        if event.type != "city.visited":
            await self._add(conn, "explorer", "quests", 1, event)
            return
        visited = insert(_VISITED).values(user_id=event.subject, city=event.data.city_id)
        new = (await conn.execute(visited.on_conflict_do_nothing())).rowcount
        for code in _COUNTERS:
            await self._add(conn, code, "cities", new, event)

    async def _add(
        self, conn: AsyncConnection, code: str, counter: str, amount: int, event: _peers.CloudEvent
    ) -> None:
        row = insert(_PROGRESS).values(
            user_id=event.subject,
            type_id=self._types[code],
            counters=_COUNTERS[code] | {counter: amount},
            last_event_at=event.time,
        )
        total = _PROGRESS.c.counters[counter].astext.cast(Integer) + amount
        await conn.execute(
            row.on_conflict_do_update(
                index_elements=["user_id", "type_id"],
                set_={
                    "counters": _PROGRESS.c.counters.op("||")(
                        func.jsonb_build_object(counter, total)
                    ),
                    "last_event_at": func.greatest(_PROGRESS.c.last_event_at, event.time),
                    "updated_at": func.now(),
                },
            )
        )

"""Badges in sets: read under their locks, created, raised, revoked."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text

from store import exact_json
from store.engine import Connection
from store.values.badges import Instance, InstanceStatus, OnchainStatus
from store.values.names import Holder, RawAddress


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a badge change: the seed's source_service and source_event_id, and the tenant."""

    source_service: str
    source_event_id: str | None
    tenant_id: UUID


@dataclass(frozen=True, slots=True)
class NewInstance:
    """A badge to create, not minted.

    `external_id` is that of the command that asks for it; `status` is another than active where
    the same batch takes it away again.
    """

    id: UUID
    type_id: UUID
    user_id: UUID
    ordinal: int
    level: int
    metadata: Mapping[str, object]
    provenance: Provenance
    external_id: str | None = None
    status: InstanceStatus = InstanceStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class RaisedInstance:
    """A badge at a higher level."""

    id: UUID
    level: int
    metadata: Mapping[str, object]
    provenance: Provenance


# All badges of a holder: the latest decides, and a revoked or burned one keeps events from making
# another.
_OF_HOLDERS = """
    SELECT id, type_id, user_id, tenant_id, current_level, status, onchain_status, onchain_token_id,
           ordinal
      FROM nft_instance
     WHERE id IN (SELECT held.id
                    FROM nft_instance AS held
                    JOIN unnest(CAST(:users AS uuid[]), CAST(:types AS uuid[]))
                      AS holder (user_id, type_id) USING (user_id, type_id)
                   UNION
                  SELECT unnest(CAST(:ids AS uuid[])))
     ORDER BY id
"""
READ = text(_OF_HOLDERS)
LOCK = text(_OF_HOLDERS + "FOR UPDATE")

CREATE = text("""
    INSERT INTO nft_instance (id, type_id, user_id, ordinal, current_level, status, metadata,
                              external_id, source_service, source_event_id, tenant_id)
    SELECT id, type_id, user_id, ordinal, level, status, metadata, external_id, source_service,
           source_event_id, tenant_id
      FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS made (id uuid, type_id uuid, user_id uuid, ordinal smallint, level int, status text,
                 metadata jsonb, external_id text, source_service text, source_event_id text,
                 tenant_id uuid)
     ORDER BY user_id, type_id, ordinal
""")

# The tenant is that of the event or command that created the badge, for ever.
RAISE = text("""
    UPDATE nft_instance AS instance
       SET current_level = raised.level, metadata = raised.metadata,
           source_service = raised.source_service, source_event_id = raised.source_event_id,
           updated_at = clock_timestamp()
      FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS raised (id uuid, level int, metadata jsonb, source_service text, source_event_id text)
     WHERE instance.id = raised.id
""")

REVOKE = text("""
    UPDATE nft_instance SET status = 'revoked', updated_at = clock_timestamp()
     WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'active'
""")


async def lock(
    conn: Connection, holders: Collection[Holder], instance_ids: Collection[UUID] = ()
) -> list[Instance]:
    """Return every badge of `holders`, and the badges `instance_ids`, locked, by their ids."""
    return await _of_holders(conn, LOCK, holders, instance_ids)


async def read(conn: Connection, holders: Collection[Holder]) -> list[Instance]:
    """Return every badge of `holders`, by their ids, without a lock."""
    return await _of_holders(conn, READ, holders)


async def _of_holders(
    conn: Connection,
    statement: TextClause,
    holders: Collection[Holder],
    instance_ids: Collection[UUID] = (),
) -> list[Instance]:
    if not holders and not instance_ids:
        return []
    listed = sorted(holders)
    parameters = {
        "users": [user_id for user_id, _ in listed],
        "types": [type_id for _, type_id in listed],
        "ids": sorted(instance_ids),
    }
    return [
        Instance(
            row.id,
            row.type_id,
            row.user_id,
            row.tenant_id,
            row.current_level,
            InstanceStatus(row.status),
            OnchainStatus(row.onchain_status),
            RawAddress(row.onchain_token_id) if row.onchain_token_id else None,
            row.ordinal,
        )
        for row in await conn.execute(statement, parameters)
    ]


def by_holder(instances: Iterable[Instance]) -> dict[Holder, Instance]:
    """Return the badge that speaks for each holder: the latest.

    Another is awarded only once the one before is revoked or burned, for good: the active one is
    the latest.
    """
    latest = sorted(instances, key=lambda instance: instance.ordinal)
    return {(instance.user_id, instance.type_id): instance for instance in latest}


async def create(conn: Connection, instances: Sequence[NewInstance]) -> None:
    """Write new badges."""
    if instances:
        await conn.execute(CREATE, {"rows": _rows(instances)})


async def raise_levels(conn: Connection, instances: Sequence[RaisedInstance]) -> None:
    """Write the new levels of badges that are locked."""
    if instances:
        await conn.execute(RAISE, {"rows": _rows(instances)})


async def revoke(conn: Connection, instance_ids: Sequence[UUID]) -> None:
    """Revoke active badges; what becomes of their tokens is the queue's."""
    if instance_ids:
        await conn.execute(REVOKE, {"ids": list(instance_ids)})


def _rows(instances: Sequence[NewInstance] | Sequence[RaisedInstance]) -> str:
    rows: list[dict[str, Any]] = []
    for instance in instances:
        row = {
            "id": str(instance.id),
            "level": instance.level,
            "metadata": dict(instance.metadata),
            "source_service": instance.provenance.source_service,
            "source_event_id": instance.provenance.source_event_id,
            "tenant_id": str(instance.provenance.tenant_id),
        }
        if isinstance(instance, NewInstance):
            row |= {
                "type_id": str(instance.type_id),
                "user_id": str(instance.user_id),
                "ordinal": instance.ordinal,
                "external_id": instance.external_id,
                "status": instance.status.value,
            }
        rows.append(row)
    return exact_json.dumped(rows)

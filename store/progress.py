"""Counters of given users for given types, held while an award is decided by them."""

from collections.abc import Collection, Mapping

from sqlalchemy import text

from store.engine import Connection
from store.values.names import CounterName, Holder, Number

# Shared: who counts for these users waits until the badge is there, and evaluates it then.
SHARE = text("""
    SELECT user_id, type_id, counters
      FROM nft_progress
           JOIN unnest(CAST(:users AS uuid[]), CAST(:types AS uuid[]))
             AS holder (user_id, type_id) USING (user_id, type_id)
     ORDER BY user_id, type_id
       FOR SHARE OF nft_progress
""")


async def share(
    conn: Connection, holders: Collection[Holder]
) -> dict[Holder, Mapping[CounterName, Number]]:
    """Return the counters of `holders`, share-locked; who was never counted is absent."""
    if not holders:
        return {}
    listed = sorted(holders)
    parameters = {
        "users": [user_id for user_id, _ in listed],
        "types": [type_id for _, type_id in listed],
    }
    rows = await conn.execute(SHARE, parameters)
    return {(row.user_id, row.type_id): row.counters for row in rows}

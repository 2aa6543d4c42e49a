"""When users linked and unlinked addresses.

By the events' own times, so that late and repeated events change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from store.engine import Connection
from store.values.names import RawAddress


@dataclass(frozen=True, slots=True)
class WalletObservation:
    """When a user linked or unlinked an address, as one message says.

    `test_only`: the message has it in a form for test networks only.
    """

    user_id: UUID
    address: RawAddress
    linked_at: datetime | None
    unlinked_at: datetime | None
    test_only: bool = False


# greatest() ignores nulls. The latest link says in which form; of two at one time the form for any
# network. The WHERE leaves rows alone that would not change: what it returns is news.
MERGE = text("""
    INSERT INTO user_wallet AS wallet (user_id, address, linked_at, unlinked_at, test_only)
    SELECT user_id, address, max(linked_at), max(unlinked_at),
           (array_agg(test_only ORDER BY linked_at DESC NULLS LAST, test_only))[1]
      FROM unnest(CAST(:users AS uuid[]), CAST(:addresses AS text[]),
                  CAST(:linked AS timestamptz[]), CAST(:unlinked AS timestamptz[]),
                  CAST(:test_only AS boolean[]))
        AS observed (user_id, address, linked_at, unlinked_at, test_only)
     GROUP BY user_id, address
     ORDER BY user_id, address
        ON CONFLICT (user_id, address) DO UPDATE
       SET linked_at = greatest(wallet.linked_at, excluded.linked_at),
           unlinked_at = greatest(wallet.unlinked_at, excluded.unlinked_at),
           test_only = CASE WHEN excluded.linked_at IS NULL
                              OR excluded.linked_at < wallet.linked_at THEN wallet.test_only
                            WHEN excluded.linked_at = wallet.linked_at
                            THEN wallet.test_only AND excluded.test_only
                            ELSE excluded.test_only END
     WHERE greatest(wallet.linked_at, excluded.linked_at) IS DISTINCT FROM wallet.linked_at
        OR greatest(wallet.unlinked_at, excluded.unlinked_at) IS DISTINCT FROM wallet.unlinked_at
        OR (excluded.linked_at = wallet.linked_at AND wallet.test_only AND NOT excluded.test_only)
    RETURNING user_id, address
""")


async def merge(
    conn: Connection, observed: Sequence[WalletObservation]
) -> frozenset[tuple[UUID, RawAddress]]:
    """Write what was observed; return the pairs of user and address that this changed."""
    if not observed:
        return frozenset()
    rows = await conn.execute(
        MERGE,
        {
            "users": [each.user_id for each in observed],
            "addresses": [each.address for each in observed],
            "linked": [each.linked_at for each in observed],
            "unlinked": [each.unlinked_at for each in observed],
            "test_only": [each.test_only for each in observed],
        },
    )
    return frozenset((row.user_id, RawAddress(row.address)) for row in rows)

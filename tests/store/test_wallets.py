"""Wallets by the times of their events: whatever comes late, twice or in another order."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID

from sqlalchemy import text

from store import wallets
from store.engine import Connection, Database
from store.values.names import RawAddress
from store.wallets import WalletObservation

ANN, BEN = UUID(int=1), UUID(int=2)
ADDRESS, OTHER = RawAddress("0:" + "1" * 64), RawAddress("0:" + "2" * 64)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def at(minute: int | None) -> datetime | None:
    return None if minute is None else NOON + timedelta(minutes=minute)


def observed(
    linked: int | None = None,
    unlinked: int | None = None,
    user: UUID = ANN,
    address: RawAddress = ADDRESS,
) -> WalletObservation:
    return WalletObservation(user, address, at(linked), at(unlinked))


async def rows(conn: Connection) -> Sequence[tuple[object, ...]]:
    found = await conn.execute(
        text(
            "SELECT user_id, address, linked_at, unlinked_at FROM user_wallet"
            " ORDER BY user_id, address"
        )
    )
    return [tuple(row) for row in found]


async def test_a_wallet_keeps_the_latest_of_each_kind(database: Database) -> None:
    async with database.transaction() as conn:
        assert await wallets.merge(conn, [observed(linked=5), observed(unlinked=3)]) == {
            (ANN, ADDRESS)
        }
        assert await wallets.merge(conn, [observed(linked=4), observed(unlinked=3)]) == frozenset()
        assert await wallets.merge(conn, [observed(unlinked=9)]) == {(ANN, ADDRESS)}
        assert await rows(conn) == [(ANN, ADDRESS, at(5), at(9))]


async def test_the_order_of_arrival_changes_nothing(database: Database) -> None:
    given = [observed(linked=1), observed(unlinked=2), observed(linked=3), observed(linked=3)]
    for order in permutations(given):
        async with database.transaction() as conn:
            await conn.execute(text("TRUNCATE user_wallet"))
            for each in order:
                await wallets.merge(conn, [each])
            assert await rows(conn) == [(ANN, ADDRESS, at(3), at(2))]


async def test_the_latest_link_says_whether_the_form_is_for_test_networks_only(
    database: Database,
) -> None:
    def linked(minute: int, *, test_only: bool) -> WalletObservation:
        return WalletObservation(ANN, ADDRESS, at(minute), None, test_only)

    given = [
        linked(1, test_only=True),
        linked(2, test_only=False),
        linked(3, test_only=True),
        linked(3, test_only=True),
        observed(unlinked=9),
    ]
    at_once = linked(3, test_only=False)  # of two at one time the form for any network
    async with database.transaction() as conn:
        for order in permutations(given):
            for wanted, more in ((True, []), (False, [at_once])):
                await conn.execute(text("DELETE FROM user_wallet"))
                await wallets.merge(conn, order[:2])
                for each in (*order[2:], *more):
                    await wallets.merge(conn, [each])
                form = await conn.execute(text("SELECT test_only FROM user_wallet"))
                assert form.scalar_one() is wanted


async def test_only_the_pairs_that_changed_come_back(database: Database) -> None:
    async with database.transaction() as conn:
        first = [
            observed(linked=1),
            observed(linked=1, address=OTHER),
            observed(linked=1, user=BEN),
        ]
        assert await wallets.merge(conn, first) == {(ANN, ADDRESS), (ANN, OTHER), (BEN, ADDRESS)}
        second = [observed(linked=1), observed(unlinked=0, address=OTHER)]
        assert await wallets.merge(conn, second) == {(ANN, OTHER)}
        assert await wallets.merge(conn, []) == frozenset()

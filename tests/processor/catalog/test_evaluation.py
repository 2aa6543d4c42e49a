"""Who would stand at another level, by counters and badges in the database."""

from uuid import UUID

from processor.catalog.evaluation import changes, rewritten
from processor.rules.levels import Rulebook
from store.counting import Progress
from store.engine import Database
from store.reevaluation import ActiveBadge
from store.values.names import CounterName
from tests.builders.catalogs import TENANT, a_catalog, a_type
from tests.builders.messages import ALICE, BOB, user
from tests.builders.sql import rows
from tests.store.test_catalogs import WALKER, applied

POINTS = CounterName("points")


async def test_only_whoever_lacks_a_level_is_named(database: Database) -> None:
    await applied(database, a_catalog())
    for who, level in ((ALICE, 1), (BOB, 2)):
        await rows(
            database,
            "INSERT INTO nft_instance (type_id, user_id, current_level, source_service, tenant_id)"
            " VALUES (:type, :user, :level, 'test', :tenant)",
            type=WALKER,
            user=who,
            level=level,
            tenant=TENANT,
        )
    found = [
        Progress(who, WALKER, {POINTS: number})
        for who, number in ((ALICE, 10), (BOB, 10), (user(3), 5), (user(4), 4))
    ]
    async with database.transaction() as conn:
        named = await changes(conn, Rulebook.compile(a_catalog()), found)
    assert [
        (
            each.progress.user_id,
            each.badge and each.badge.current_level,
            each.decision.level.level,
        )
        for each in named
    ] == [(ALICE, 1, 2), (user(3), None, 1)]


def test_metadata_that_is_as_the_rules_say_is_left_alone() -> None:
    rulebook = Rulebook.compile(a_catalog(a_type(metadata_fields={"count": POINTS})))

    def badge(**metadata: int) -> ActiveBadge:
        return ActiveBadge(UUID(int=1), WALKER, ALICE, 1, metadata, {POINTS: 7})

    assert rewritten(rulebook, badge(level=1, count=7)) is None
    assert rewritten(rulebook, badge(level=1)) == {"level": 1, "count": 7}

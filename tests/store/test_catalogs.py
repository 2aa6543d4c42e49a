"""Applying catalogs to a real database: what is written, what is refused, who waits for whom."""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from ops.errors import UsageError
from processor.catalog.lint import lint
from processor.catalog.load import SHIPPED, load, type_id
from store import catalogs
from store.catalogs import Applied
from store.engine import Database
from store.values.catalog import Catalog, CounterKind, FieldKind, FieldSpec, Rarity, TypeSpec
from store.values.names import CounterName, TypeCode
from tests.builders.catalogs import TENANT, a_catalog, a_counter, a_level, a_type, an_event
from tests.builders.sql import rows

WALKER = type_id(TypeCode("walker"))
RUNNER = type_id(TypeCode("runner"))


async def applied(database: Database, catalog: Catalog) -> Applied:
    assert lint(catalog) == [], "a test applies sound catalogs only"
    async with database.transaction() as conn:
        return await catalogs.apply(conn, catalog, "admin")


async def everything(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Return every table that `apply` may write, whole."""
    tables = (
        "catalog_version",
        "counter_definition",
        "nft_type",
        "nft_level_rule",
        "nft_progress",
        "nft_audit_log",
    )
    return {table: await rows(database, f"SELECT * FROM {table} ORDER BY 1") for table in tables}


async def a_badge(database: Database, level: int, type_of: UUID = WALKER) -> None:
    statement = """
        INSERT INTO nft_instance (type_id, user_id, current_level, source_service, tenant_id)
        VALUES (:type, gen_random_uuid(), :level, 'test', :tenant)
    """
    await rows(database, statement, type=type_of, level=level, tenant=TENANT)


async def some_progress(
    database: Database, user: UUID, counters: str, type_of: UUID = WALKER
) -> None:
    statement = """
        INSERT INTO nft_progress (type_id, user_id, counters, last_event_at)
        VALUES (:type, :user, CAST(:counters AS jsonb), '2026-01-01T00:00:00Z')
    """
    await rows(database, statement, type=type_of, user=user, counters=counters)


async def test_before_the_first_one_there_is_none(database: Database) -> None:
    async with database.transaction() as conn:
        assert await catalogs.current(conn) is None
        with pytest.raises(UsageError, match="Run `laurel catalog apply`"):
            await catalogs.current_for_share(conn)


async def test_the_shipped_catalog_comes_back_as_it_was(database: Database) -> None:
    shipped = load(SHIPPED)
    outcome = await applied(database, shipped)
    async with database.transaction() as conn:
        found = await catalogs.current(conn)
        assert found is not None
        assert await catalogs.current_for_share(conn) == found.version == outcome.version
    ids = [counter.id for counter in found.counters]
    assert len(set(ids)) == len(ids)
    assert 0 not in ids
    bare = replace(
        found, version=0, counters=tuple(replace(counter, id=0) for counter in found.counters)
    )
    assert bare == shipped
    assert await rows(database, "SELECT count(*) FROM nft_level_rule") == [(18,)]
    assert sorted(outcome.created) == [
        code for (code,) in await rows(database, "SELECT code FROM nft_type ORDER BY code")
    ]


async def test_every_field_reaches_its_column(database: Database) -> None:
    level = a_level(
        2,
        {"points": {"gte": Decimal("0.10")}},
        order=20,
        title="Second",
        description="Two.",
        rarity=Rarity.EPIC,
        image_url="https://badges.example/2.svg",
        auto_mint_onchain=True,
        i18n={"ru": {"title": "Второй", "description": "Два."}},
    )
    spec = a_type(
        level,
        metadata_schema={"required": ["level"]},
        i18n={"ru": {"title": "Ходок", "description": ""}},
    )
    await applied(database, a_catalog(spec))
    assert await rows(
        database,
        """
        SELECT id, code, title, description, category, base_image_url, is_onchain_capable,
               default_onchain_policy, onchain_min_rarity, metadata_schema, i18n
          FROM nft_type
        """,
    ) == [
        (
            WALKER,
            "walker",
            "Walker",
            "",
            "traveler",
            "https://badges.example/walker.svg",
            True,
            "always",
            "rare",
            {"required": ["level"]},
            {"ru": {"title": "Ходок", "description": ""}},
        )
    ]
    assert await rows(
        database,
        """
        SELECT type_id, level, "order", title, description, rarity, image_url, conditions::text,
               auto_mint_onchain, onchain_policy, i18n->'ru'->>'title'
          FROM nft_level_rule
        """,
    ) == [
        (
            WALKER,
            2,
            20,
            "Second",
            "Two.",
            "epic",
            "https://badges.example/2.svg",
            '{"points": {"gte": 0.10}}',
            True,
            None,
            "Второй",
        )
    ]


async def test_applying_the_same_again_changes_nothing(database: Database) -> None:
    first = await applied(database, a_catalog())
    before = await everything(database)
    assert await applied(database, a_catalog()) == Applied(version=first.version, is_new=False)
    assert await everything(database) == before


async def test_each_change_is_a_version_with_its_history(database: Database) -> None:
    await applied(database, a_catalog())
    second = await applied(
        database,
        a_catalog(a_type(a_level(1, title="One"), a_level(2), a_level(3)), a_type(code="runner")),
    )
    assert (second.created, second.changed, second.removed) == (("runner",), ("walker",), ())
    assert await rows(
        database, "SELECT count(*), count(*) FILTER (WHERE is_current) FROM catalog_version"
    ) == [(2, 1)]
    assert await rows(
        database,
        """
        SELECT nft_instance_id, actor_service, action, details
          FROM nft_audit_log ORDER BY details->'catalog_version', action
        """,
    ) == [
        (None, "admin", "created", {"type_code": "walker", "catalog_version": second.version - 1}),
        (None, "admin", "created", {"type_code": "runner", "catalog_version": second.version}),
        (
            None,
            "admin",
            "metadata_updated",
            {"type_code": "walker", "catalog_version": second.version, "changed": ["levels.1"]},
        ),
    ]


async def test_orders_may_change_places_with_their_levels(database: Database) -> None:
    await applied(
        database,
        a_catalog(a_type(a_level(1, order=10), a_level(2, order=20), a_level(3, order=30))),
    )
    await applied(
        database,
        a_catalog(a_type(a_level(1, order=20), a_level(2, order=30), a_level(3, order=40))),
    )
    assert await rows(database, 'SELECT level, "order" FROM nft_level_rule ORDER BY level') == [
        (1, 20),
        (2, 30),
        (3, 40),
    ]


class TestRefusals:
    """What would take something away is refused, with every reason, and nothing is written."""

    async def refused(self, database: Database, catalog: Catalog, *reasons: str) -> None:
        before = await everything(database)
        with pytest.raises(UsageError) as error:
            await applied(database, catalog)
        assert error.value.message.splitlines() == [
            "The catalog cannot be applied:",
            *(f"  {reason}" for reason in reasons),
        ]
        assert await everything(database) == before

    async def test_a_level_that_somebody_holds_stays(self, database: Database) -> None:
        await applied(database, a_catalog())
        for _ in range(2):
            await a_badge(database, 2)
        fewer = a_catalog(a_type(a_level(1), a_level(3)))
        await self.refused(
            database, fewer, "walker, level 2: 2 badges stand at it. Keep the level."
        )
        without_the_third = a_catalog(a_type(a_level(1), a_level(2)))
        assert (await applied(database, without_the_third)).changed == ("walker",)

    async def test_a_type_in_use_stays(self, database: Database) -> None:
        both = a_catalog(a_type(), a_type(code="runner"))
        await applied(database, both)
        await a_badge(database, 1, RUNNER)
        await some_progress(database, uuid4(), '{"points": 5}', RUNNER)
        await self.refused(
            database,
            a_catalog(),
            "runner: in use (1 badges, progress of 1 users, 0 collections on chain). "
            "Keep the type.",
        )

    async def test_a_type_that_nobody_used_may_go(self, database: Database) -> None:
        await applied(
            database,
            a_catalog(
                a_type(),
                a_type(
                    code="runner", counters=("leaps",), levels=(a_level(1, {"leaps": {"gte": 1}}),)
                ),
            ),
        )
        assert (await applied(database, a_catalog())).removed == ("runner",)
        assert await rows(database, "SELECT code FROM nft_type") == [("walker",)]
        assert await rows(database, "SELECT name FROM counter_definition") == [("points",)]

    @pytest.mark.parametrize(
        "change",
        [
            {"kind": CounterKind.DISTINCT, "field": "step_id"},
            {"event_type": "leap.made"},
            {"filter": {"height": {"gte": 3}}},
            {"undo_event_type": "leap.made", "field": "step_id", "undo_field": "step_id"},
        ],
    )
    async def test_a_counter_keeps_its_meaning(
        self, database: Database, change: dict[str, object]
    ) -> None:
        events = (an_event(), an_event("leap.made"))
        levels = (a_level(1, order_dependent=True),)
        await applied(database, a_catalog(a_type(*levels), events=events))
        other = a_catalog(a_type(*levels), counters=(a_counter("points", **change),), events=events)
        await self.refused(
            database,
            other,
            "counter points: what it counts cannot change once it counts. "
            "Give the new meaning a new name.",
        )

    async def test_a_counter_that_has_counted_stays(self, database: Database) -> None:
        await applied(database, a_catalog(a_type(counters=("points", "leaps"))))
        await rows(
            database, "UPDATE counter_definition SET has_counted = true WHERE name = 'leaps'"
        )
        await self.refused(
            database,
            a_catalog(),
            "counter leaps: it has counted, and what it saw is not seen again. "
            "Keep it in a type's counters.",
        )

    async def test_all_reasons_are_told_at_once(self, database: Database) -> None:
        await applied(database, a_catalog())
        await a_badge(database, 3)
        new = a_catalog(
            a_type(a_level(1), a_level(2)),
            counters=(a_counter("points", kind=CounterKind.SUM, field="height"),),
            events=(an_event("step.made", FieldSpec("height", FieldKind.INTEGER)),),
        )
        await self.refused(
            database,
            new,
            "counter points: what it counts cannot change once it counts. "
            "Give the new meaning a new name.",
            "walker, level 3: 1 badges stand at it. Keep the level.",
        )


async def test_what_is_rolled_back_uses_up_no_number(database: Database) -> None:
    await applied(database, a_catalog())

    async def rolled_back() -> None:
        async with database.transaction() as conn:
            await catalogs.apply(conn, a_catalog(a_type(counters=("points", "leaps"))), "admin")
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            await rolled_back()
    last = await applied(database, a_catalog(a_type(counters=("points", "jumps"))))
    assert last.version == 2
    assert await rows(database, "SELECT id, name FROM counter_definition ORDER BY id") == [
        (1, "points"),
        (2, "jumps"),
    ]


@pytest.mark.parametrize(
    ("changed", "rules_changed", "metadata_changed"),
    [
        (a_type(title="Rambler"), False, False),
        (a_type(a_level(1, title="One"), a_level(2), a_level(3)), False, False),
        (a_type(a_level(1, {"points": {"gte": 4}}), a_level(2), a_level(3)), True, False),
        (a_type(a_level(1), a_level(2), a_level(3), a_level(4)), True, False),
        (a_type(metadata_fields={"points": CounterName("points")}), False, True),
    ],
)
async def test_what_must_be_looked_at_again_is_named(
    database: Database, changed: TypeSpec, rules_changed: bool, metadata_changed: bool
) -> None:
    await applied(database, a_catalog())
    outcome = await applied(database, a_catalog(changed))
    assert outcome.rules_changed == ({WALKER} if rules_changed else set())
    assert outcome.metadata_changed == ({WALKER} if metadata_changed else set())

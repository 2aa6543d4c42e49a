from decimal import Decimal

from processor.rules.explanation import ConditionCheck, as_text, explain
from processor.rules.levels import TypeRules
from store.values.badges import InstanceStatus, OnchainStatus
from store.values.catalog import Rarity
from store.values.names import CounterName, RawAddress
from tests.builders.catalogs import a_level, a_type, an_instance

POINTS, CITIES = CounterName("points"), CounterName("cities")
RULES = TypeRules.compile(
    a_type(
        a_level(1),
        a_level(2, {"points": {"gte": 10}, "cities": {"gte": 3}}),
        a_level(
            3,
            {
                "points": {"gte": 15},
                "any": [
                    {"cities": {"gte": 8}},
                    {"not": {"cities": {"lt": 5}}, "points": {"gt": 99}},
                ],
            },
        ),
        counters=("points", "cities"),
    )
)


def test_a_stranger_sees_everything_that_is_missing() -> None:
    found = explain(RULES, {}, None)
    assert (found.level, found.status, found.counters) == (None, None, {POINTS: 0, CITIES: 0})
    assert [(level.reached, level.holds, level.missing) for level in found.levels] == [
        (False, False, ("5 more points",)),
        (False, False, ("10 more points", "3 more cities")),
        (False, False, ("15 more points", "8 more cities")),
    ]


def test_each_counter_stands_beside_each_condition() -> None:
    found = explain(RULES, {POINTS: 12, CITIES: Decimal("2.5")}, an_instance(1))
    assert found.levels[1].checks == (
        ConditionCheck(0, "points >= 10", True, POINTS, 12),
        ConditionCheck(0, "cities >= 3", False, CITIES, Decimal("2.5")),
    )
    assert found.levels[1].missing == ("0.5 more cities",)
    assert found.levels[2].checks == (
        ConditionCheck(0, "points >= 15", False, POINTS, 12),
        ConditionCheck(0, "any of:", False),
        ConditionCheck(1, "cities >= 8", False, CITIES, Decimal("2.5")),
        ConditionCheck(1, "all of:", False),
        ConditionCheck(2, "not:", False),
        ConditionCheck(3, "cities < 5", True, CITIES, Decimal("2.5")),
        ConditionCheck(2, "points > 99", False, POINTS, 12),
    )


def test_a_level_once_reached_is_reached_though_its_conditions_hold_no_more() -> None:
    found = explain(RULES, {POINTS: 3}, an_instance(2))
    assert [(level.reached, level.holds) for level in found.levels] == [
        (True, False),
        (True, False),
        (False, False),
    ]


def test_the_text_for_a_person() -> None:
    badge = an_instance(
        1,
        status=InstanceStatus.ACTIVE,
        onchain_status=OnchainStatus.MINTED,
        onchain_token_id=RawAddress("0:ab"),
    )
    assert as_text(explain(RULES, {POINTS: 12, CITIES: 2}, badge)).splitlines() == [
        "walker: level 1 of 3, active, minted, token 0:ab",
        "  [x] level 1  Level 1 (common)",
        "        points >= 5                                    has 12    ok",
        "  [ ] level 2  Level 2 (common)",
        "        points >= 10                                   has 12    ok",
        "        cities >= 3                                    has 2     --",
        "        missing: 1 more cities",
        "  [ ] level 3  Level 3 (common)",
        "        points >= 15                                   has 12    --",
        "        any of:                                                  --",
        "          cities >= 8                                  has 2     --",
        "          all of:                                                --",
        "            not:                                                 --",
        "              cities < 5                               has 2     ok",
        "            points > 99                                has 12    --",
        "        missing: 3 more points, 6 more cities",
    ]
    assert as_text(explain(RULES, {}, None)).splitlines()[0] == "walker: no badge yet"


def test_without_a_token_and_with_a_level_reached_the_text_is_shorter() -> None:
    text = as_text(explain(RULES, {POINTS: 3}, an_instance(2))).splitlines()
    assert text[0] == "walker: level 2 of 3, active, not_minted"
    # A level that was reached misses nothing, though its counters have fallen.
    assert [line for line in text if "missing" in line] == [
        "        missing: 12 more points, 8 more cities"
    ]


def test_the_title_and_the_status_of_the_badge_are_told() -> None:
    badge = an_instance(
        1,
        status=InstanceStatus.REVOKED,
        onchain_status=OnchainStatus.MINTED,
        onchain_token_id=RawAddress("0:ab"),
    )
    found = explain(RULES, {POINTS: 6}, badge)
    assert (found.title, found.level, found.counters) == ("Walker", 1, {POINTS: 6, CITIES: 0})
    assert (found.status, found.onchain_status, found.token_id) == (
        InstanceStatus.REVOKED,
        OnchainStatus.MINTED,
        "0:ab",
    )
    assert [(level.title, level.rarity) for level in found.levels] == [
        (f"Level {number}", Rarity.COMMON) for number in (1, 2, 3)
    ]


def test_a_counter_that_is_not_there_is_shown_as_zero() -> None:
    assert explain(RULES, {}, None).levels[0].checks == (
        ConditionCheck(0, "points >= 5", False, POINTS, 0),
    )


def test_what_more_of_a_counter_does_not_help_is_told_as_it_stands() -> None:
    conditions = {"points": {"lt": 5}, "not": {"cities": {"gte": 3}}}
    rules = TypeRules.compile(a_type(a_level(1, conditions), counters=("points", "cities")))
    [level] = explain(rules, {POINTS: 9, CITIES: 4}, None).levels
    assert level.missing == ("points < 5", "not (cities >= 3)")

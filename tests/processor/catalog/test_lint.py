"""What a catalog must keep to beyond its form: the edges of each rule.

That each rule tells file, line and the way out is held by test_load.py.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from processor.catalog.lint import lint
from processor.catalog.load import SHIPPED, load
from processor.rules.diagnostics import Diagnostic, KeyPath
from store.values.catalog import (
    Catalog,
    CounterKind,
    CounterSpec,
    EventSpec,
    FieldKind,
    FieldSpec,
    OnchainPolicy,
    Rarity,
)
from store.values.names import CounterName
from tests.builders.catalogs import a_catalog, a_counter, a_level, a_type, an_event

ID, TEXT, INTEGER, NUMBER = FieldKind
STEP_ID = FieldSpec("step_id", ID, required=True)
MADE = an_event(
    "step.made",
    STEP_ID,
    FieldSpec("other_id", ID),
    FieldSpec("colour", TEXT),
    FieldSpec("height", INTEGER),
    FieldSpec("depth", INTEGER, minimum=-9),
    FieldSpec("weight", NUMBER, minimum=0),
    FieldSpec("balance", NUMBER),
)
UNDONE = an_event("step.undone", STEP_ID, FieldSpec("other_id", ID), FieldSpec("colour", TEXT))


def counting(**changes: Any) -> Catalog:
    """Return a catalog whose one counter, `points`, has `changes`."""
    return a_catalog(counters=(a_counter(**changes),), events=(MADE, UNDONE))


def with_event(event: EventSpec) -> Catalog:
    return a_catalog(events=(MADE, event))


def with_conditions(*conditions: Mapping[str, object], **changes: Any) -> Catalog:
    """Return a catalog with a level for each of `conditions`, over `points` and `falling`."""
    counters = (a_counter("points"), undone("falling"))
    levels = (a_level(number, document, **changes) for number, document in enumerate(conditions, 1))
    badge_type = a_type(*levels, counters=("points", "falling"))
    return a_catalog(badge_type, counters=counters, events=(MADE, UNDONE))


def undone(name: str = "points", **changes: Any) -> CounterSpec:
    plain = {"field": "step_id", "undo_event_type": "step.undone", "undo_field": "step_id"}
    return a_counter(name, **{**plain, **changes})


def paths(catalog: Catalog) -> list[KeyPath]:
    return [each.path for each in lint(catalog)]


def messages(catalog: Catalog) -> list[str]:
    return [each.message for each in lint(catalog)]


def test_the_builders_and_the_shipped_catalog_are_sound() -> None:
    assert lint(a_catalog()) == []
    assert lint(counting()) == []
    assert lint(with_conditions({"points": {"gte": 5}})) == []
    assert lint(load(SHIPPED)) == []


class TestNames:
    @pytest.mark.parametrize("name", ["a", "a_1", "x" * 64])
    def test_a_name(self, name: str) -> None:
        level = a_level(1, {name: {"gte": 1}})
        assert lint(a_catalog(a_type(level, code=name, counters=(name,)))) == []

    @pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "_a", "x" * 65])
    def test_no_name(self, name: str) -> None:
        level = a_level(1, {name: {"gte": 1}})
        found = lint(a_catalog(a_type(level, code=name, counters=(name,))))
        assert found == [
            Diagnostic(
                ("counters", name),
                "a counter's name is lower-case letters, digits and _, at most 64, "
                "and none of all, any, not: rename it.",
            ),
            Diagnostic(
                ("types", name),
                "a type's code is lower-case letters, digits and _, at most 64: rename it.",
            ),
        ]

    @pytest.mark.parametrize("word", ["all", "any", "not"])
    def test_a_word_of_the_grammar_names_no_counter(self, word: str) -> None:
        badge_type = a_type(counters=("points", word))
        assert paths(a_catalog(badge_type)) == [("counters", word)]

    @pytest.mark.parametrize("name", ["a.b", "a1.b_2.c", "a." + "x" * 126])
    def test_an_event_type(self, name: str) -> None:
        assert lint(with_event(an_event(name))) == []

    @pytest.mark.parametrize("name", ["ab", "a.", "a..b", "A.b", "1a.b", "a.b-c", "a." + "x" * 127])
    def test_no_event_type(self, name: str) -> None:
        assert lint(with_event(an_event(name))) == [
            Diagnostic(
                ("events", name),
                "an event type is lower-case words with dots between, like quest.completed, "
                "at most 128 long: rename it.",
            )
        ]

    @pytest.mark.parametrize("name", ["wallet.linked", "badge.x", "achievement.grant"])
    def test_laurels_own_events(self, name: str) -> None:
        assert messages(with_event(an_event(name))) == [
            "wallet.*, badge.* and achievement.* are Laurel's own: choose another name."
        ]

    @pytest.mark.parametrize("topic", ["a", "1.a_b-c", "x" * 100])
    def test_a_topic(self, topic: str) -> None:
        assert lint(with_event(an_event("a.b", topic=topic))) == []

    @pytest.mark.parametrize("topic", ["", ".a", "A", "a b", "x" * 101])
    def test_no_topic(self, topic: str) -> None:
        assert lint(with_event(an_event("a.b", topic=topic))) == [
            Diagnostic(
                ("events", "a.b", "topic"),
                "a topic is lower-case letters, digits, `.`, `_` and `-`, at most 100: rename it.",
            )
        ]

    @pytest.mark.parametrize("topic", ["wallets", "commands", "badges", "dead-letters"])
    def test_laurels_own_topics(self, topic: str) -> None:
        assert messages(with_event(an_event("a.b", topic=topic))) == [
            f"the topic {topic} is Laurel's own: choose another one."
        ]


class TestFields:
    @pytest.mark.parametrize("kind", [INTEGER, NUMBER])
    @pytest.mark.parametrize(
        "bounds", [{}, {"minimum": 1}, {"maximum": 1}, {"minimum": 1, "maximum": 1}]
    )
    def test_numbers_may_have_bounds(self, kind: FieldKind, bounds: dict[str, Any]) -> None:
        assert lint(with_event(an_event("a.b", FieldSpec("x", kind, **bounds)))) == []

    @pytest.mark.parametrize("kind", [ID, TEXT])
    @pytest.mark.parametrize("bounds", [{"minimum": 0}, {"maximum": 0}])
    def test_words_have_none(self, kind: FieldKind, bounds: dict[str, Any]) -> None:
        assert lint(with_event(an_event("a.b", FieldSpec("x", kind, **bounds)))) == [
            Diagnostic(
                ("events", "a.b", "fields", "x"),
                f"minimum and maximum are for integer and number, not for {kind}: drop them.",
            )
        ]

    def test_bounds_that_no_number_keeps_to(self) -> None:
        event = an_event("a.b", FieldSpec("x", NUMBER, minimum=2, maximum=1))
        assert messages(with_event(event)) == ["no number is at least 2 and at most 1: swap them."]


class TestCounters:
    @pytest.mark.parametrize("kind", [CounterKind.SUM, CounterKind.MAX])
    @pytest.mark.parametrize("field", ["height", "weight"])
    def test_a_sum_and_a_max_read_numbers_from_zero_up(self, kind: CounterKind, field: str) -> None:
        assert lint(counting(kind=kind, field=field)) == []

    @pytest.mark.parametrize("kind", [CounterKind.SUM, CounterKind.MAX])
    @pytest.mark.parametrize("field", ["depth", "balance"])
    def test_they_read_nothing_negative(self, kind: CounterKind, field: str) -> None:
        assert lint(counting(kind=kind, field=field)) == [
            Diagnostic(
                ("counters", "points", "field"),
                f"{field} may be negative, and counters never fall: give the field `minimum: 0`.",
            )
        ]

    @pytest.mark.parametrize("kind", [CounterKind.SUM, CounterKind.MAX])
    @pytest.mark.parametrize("field", ["step_id", "colour"])
    def test_they_read_no_words(self, kind: CounterKind, field: str) -> None:
        [message] = messages(counting(kind=kind, field=field))
        assert message.endswith(f", {kind} needs integer or number.")

    def test_a_distinct_reads_ids(self) -> None:
        assert lint(counting(kind=CounterKind.DISTINCT, field="other_id")) == []

    @pytest.mark.parametrize("field", ["colour", "height", "weight"])
    def test_it_reads_nothing_longer(self, field: str) -> None:
        [message] = messages(counting(kind=CounterKind.DISTINCT, field=field))
        assert message.endswith("but its values are remembered: only kind id is short enough.")

    @pytest.mark.parametrize("kind", [CounterKind.DISTINCT, CounterKind.SUM, CounterKind.MAX])
    def test_all_but_a_count_read_a_field(self, kind: CounterKind) -> None:
        assert messages(counting(kind=kind)) == [
            f"a counter of kind {kind} reads a field: add `field`."
        ]
        assert paths(counting(kind=kind)) == [("counters", "points", "field")]

    def test_an_event_type_that_is_not_there_is_all_that_is_told(self) -> None:
        broken = counting(event_type="step.mad", kind=CounterKind.SUM, filter={"x": 1})
        assert lint(broken) == [
            Diagnostic(
                ("counters", "points", "event"),
                "there is no event type step.mad: take one of step.made, step.undone.",
            )
        ]

    def test_without_any_to_choose_from_the_way_out_is_to_define_one(self) -> None:
        none = Catalog(0, (), (a_counter(),), (a_type(),))
        assert messages(none) == ["there is no event type step.made: define one first."]


class TestUndo:
    def test_a_count_may_be_undone(self) -> None:
        badge_type = a_type(a_level(1, order_dependent=True))
        found = a_catalog(badge_type, counters=(undone(),), events=(MADE, UNDONE))
        assert lint(found) == []

    def problems(self, **changes: Any) -> list[tuple[KeyPath, str]]:
        badge_type = a_type(a_level(1, order_dependent=True))
        found = a_catalog(badge_type, counters=(undone(**changes),), events=(MADE, UNDONE))
        return [(each.path[2:], each.message) for each in lint(found)]

    def test_a_field_pairs_the_two_events(self) -> None:
        assert self.problems(field=None) == [
            (("field",), "`undo` pairs two events by an id: add `field`, the id in step.made.")
        ]

    def test_the_other_event_has_to_declare_it(self) -> None:
        assert self.problems(undo_field="id") == [
            (
                ("undo", "field"),
                "step.undone declares no field id: take one of colour, other_id, step_id.",
            )
        ]
        [(path, _message)] = self.problems(undo_field=None)
        assert path == ("undo", "field")

    @pytest.mark.parametrize("side", ["field", "undo_field"])
    def test_it_has_to_be_required(self, side: str) -> None:
        event = "step.made" if side == "field" else "step.undone"
        assert self.problems(**{side: "other_id"}) == [
            (
                ("undo", "field"),
                f"{event}.other_id pairs two events: it must be of kind id and `required: true`.",
            )
        ]

    def test_it_has_to_be_an_id(self) -> None:
        required = FieldSpec("colour", TEXT, required=True)
        undo = an_event("step.undone", required)
        counter = undone(undo_field="colour")
        badge_type = a_type(a_level(1, order_dependent=True))
        found = a_catalog(badge_type, counters=(counter,), events=(MADE, undo))
        assert messages(found) == [
            "step.undone.colour pairs two events: it must be of kind id and `required: true`."
        ]

    def test_an_event_does_not_undo_itself(self) -> None:
        assert self.problems(undo_event_type="step.made") == [
            (("undo", "event"), "an event cannot undo itself: name another event type.")
        ]

    def test_the_event_has_to_be_there(self) -> None:
        assert self.problems(undo_event_type="step.gone") == [
            (
                ("undo", "event"),
                "there is no event type step.gone: take one of step.made, step.undone.",
            )
        ]

    @pytest.mark.parametrize(
        ("kind", "field"),
        [
            (CounterKind.DISTINCT, "step_id"),
            (CounterKind.SUM, "height"),
            (CounterKind.MAX, "height"),
        ],
    )
    def test_only_a_count_can_be_undone(self, kind: CounterKind, field: str) -> None:
        first, *_rest = self.problems(kind=kind, field=field)
        assert first == (("undo",), f"only a count can be undone, not a {kind}: drop `undo`.")


class TestFilters:
    @pytest.mark.parametrize(
        "document",
        [
            {"colour": {"eq": "red"}},
            {"step_id": {"in": ["a", "b"]}},
            {"height": {"gte": 3, "lt": Decimal("4.5")}},
            {"weight": {"in": [1, 2]}},
            # What is not declared may be anything.
            {"undeclared": {"eq": True}},
        ],
    )
    def test_a_filter_compares_by_kind(self, document: dict[str, object]) -> None:
        assert lint(counting(filter=document)) == []

    @pytest.mark.parametrize(
        ("document", "name", "value"),
        [
            ({"colour": {"eq": 3}}, "colour", "3"),
            ({"colour": {"eq": True}}, "colour", "True"),
            ({"step_id": {"in": ["a", 3]}}, "step_id", "3"),
            ({"height": {"eq": "3"}}, "height", "'3'"),
            ({"height": {"ne": True}}, "height", "True"),
            ({"undeclared": {"eq": 1}, "weight": {"eq": "x"}}, "weight", "'x'"),
        ],
    )
    def test_what_never_compares_is_told(
        self, document: dict[str, object], name: str, value: str
    ) -> None:
        kind = next(field.kind for field in MADE.fields if field.name == name)
        assert lint(counting(filter=document)) == [
            Diagnostic(
                ("counters", "points", "filter", name),
                f"{name} is of kind {kind} and never compares with {value}.",
            )
        ]

    def test_each_value_of_a_list_is_told(self) -> None:
        assert len(lint(counting(filter={"colour": {"in": [1, "red", 2]}}))) == 2


class TestTypes:
    def test_a_type_has_counters_and_levels(self) -> None:
        bare = a_type(counters=(), levels=())
        assert lint(a_catalog(bare, counters=())) == [
            Diagnostic(
                ("types", "walker", "counters"),
                "a type without counters can never be earned: name at least one.",
            ),
            Diagnostic(
                ("types", "walker", "levels"), "a type needs at least one level: add level 1."
            ),
        ]

    def test_a_counter_named_three_times_is_told_twice(self) -> None:
        found = a_type(counters=("points", "points", "points"))
        assert paths(a_catalog(found)) == [
            ("types", "walker", "counters", 1),
            ("types", "walker", "counters", 2),
        ]

    @pytest.mark.parametrize("url", ["https://x.example/a", "http://x", "ipfs://x"])
    def test_an_address_of_an_image(self, url: str) -> None:
        assert lint(a_catalog(a_type(a_level(image_url=url), base_image_url=url))) == []

    @pytest.mark.parametrize(
        "url", ["", "x.svg", "ftp://x", "https://", "https://a b", "xhttp://a"]
    )
    def test_no_address_of_an_image(self, url: str) -> None:
        message = f"{url!r} is no address of an image: write https://... or ipfs://..."
        assert lint(a_catalog(a_type(a_level(image_url=url), base_image_url=url))) == [
            Diagnostic(("types", "walker", "base_image_url"), message),
            Diagnostic(("types", "walker", "levels", 1, "image_url"), message),
        ]

    @pytest.mark.parametrize("locale", ["en", "ru", "pt-BR", "zh-Hant-TW", "ast"])
    def test_a_language_tag(self, locale: str) -> None:
        assert lint(a_catalog(a_type(a_level(i18n={locale: {}}), i18n={locale: {}}))) == []

    @pytest.mark.parametrize("locale", ["", "e", "EN", "pt_BR", "engl", "en-", "en-x"])
    def test_no_language_tag(self, locale: str) -> None:
        message = f"{locale!r} is no language tag: write en, ru or pt-BR."
        assert lint(a_catalog(a_type(a_level(i18n={locale: {}}), i18n={locale: {}}))) == [
            Diagnostic(("types", "walker", "i18n", locale), message),
            Diagnostic(("types", "walker", "levels", 1, "i18n", locale), message),
        ]

    def test_metadata_shows_counters_of_the_type(self) -> None:
        counters = (a_counter("points"), a_counter("more"))
        shown = a_type(counters=("points", "more"), metadata_fields={"x": CounterName("more")})
        assert lint(a_catalog(shown, counters=counters)) == []
        other = a_type(metadata_fields={"x": CounterName("more")})
        keeper = a_type(a_level(1, {"more": {"gte": 1}}), code="other", counters=("more",))
        assert lint(a_catalog(other, keeper, counters=counters)) == [
            Diagnostic(
                ("types", "walker", "metadata", "x"),
                "more is no counter of this type: take one of points.",
            )
        ]

    @pytest.mark.parametrize(
        ("counter", "is_integer"),
        [
            ({}, True),
            ({"kind": CounterKind.DISTINCT, "field": "step_id"}, True),
            ({"kind": CounterKind.SUM, "field": "height"}, True),
            ({"kind": CounterKind.SUM, "field": "weight"}, False),
            ({"kind": CounterKind.MAX, "field": "weight"}, False),
        ],
    )
    def test_a_counter_of_decimals_has_room_between_whole_numbers(
        self, counter: dict[str, Any], is_integer: bool
    ) -> None:
        between = a_level(1, {"points": {"gt": 5, "lt": 6}}, order_dependent=True)
        found = a_catalog(a_type(between), counters=(a_counter(**counter),), events=(MADE,))
        assert [path[-1] for path in paths(found)] == ["conditions"] * is_integer


class TestLevels:
    def test_levels_count_from_one(self) -> None:
        assert lint(a_catalog(a_type(a_level(0, {"points": {"gte": 1}})))) == [
            Diagnostic(("types", "walker", "levels", 0), "levels count from 1: renumber them.")
        ]

    @pytest.mark.parametrize(("order", "told"), [(9, True), (10, True), (11, False)])
    def test_orders_rise_with_levels(self, order: int, told: bool) -> None:
        found = lint(a_catalog(a_type(a_level(1), a_level(2, order=order))))
        assert [each.path for each in found] == [("types", "walker", "levels", 2, "order")] * told

    @pytest.mark.parametrize(
        ("rarity", "told"), [(Rarity.COMMON, True), (Rarity.RARE, False), (Rarity.EPIC, False)]
    )
    def test_rarity_does_not_fall(self, rarity: Rarity, told: bool) -> None:
        found = a_catalog(a_type(a_level(1, rarity=Rarity.RARE), a_level(2, rarity=rarity)))
        assert paths(found) == [("types", "walker", "levels", 2, "rarity")] * told

    def test_what_is_minted_by_itself_may_be_minted(self) -> None:
        minted = a_level(1, auto_mint_onchain=True)
        assert lint(a_catalog(a_type(minted))) == []
        [never] = lint(a_catalog(a_type(minted, default_onchain_policy=OnchainPolicy.NEVER)))
        assert never == Diagnostic(
            ("types", "walker", "levels", 1, "auto_mint_onchain"),
            "level 1 can never be minted (the policy is never and the level common): "
            "drop it, or change the policy.",
        )
        own = a_level(1, auto_mint_onchain=True, onchain_policy=OnchainPolicy.NEVER)
        assert messages(a_catalog(a_type(own))) == [never.message]

    def test_each_fault_of_the_grammar_is_told_and_the_other_levels_are_looked_at(self) -> None:
        found = with_conditions({"points": {"gtee": 1}, "x": 5}, {"y": {"gte": 1}})
        assert paths(found) == [
            ("types", "walker", "levels", 1, "conditions", "points"),
            ("types", "walker", "levels", 1, "conditions", "x"),
            ("types", "walker", "levels", 2, "conditions", "y"),
        ]
        assert all(message.endswith(".") for message in messages(found))

    @pytest.mark.parametrize(
        ("document", "why"),
        [
            ({"points": {"gte": 1, "lt": 9}}, "`points >= 1 and points < 9` can stop to hold"),
            ({"falling": {"gte": 1}}, "falling can fall"),
            ({"points": {"gte": 1}, "falling": {"gte": 1}}, "falling can fall"),
        ],
    )
    def test_what_can_stop_to_hold_depends_on_the_order_of_events(
        self, document: dict[str, object], why: str
    ) -> None:
        assert lint(with_conditions(document)) == [
            Diagnostic(
                ("types", "walker", "levels", 1, "conditions"),
                f"{why}, so level 1 depends on what is counted first: "
                "say `order_dependent: true` if that is meant.",
            )
        ]
        assert lint(with_conditions(document, order_dependent=True)) == []

    def test_several_that_can_fall_are_told_by_the_first_name(self) -> None:
        counters = (undone("zebra"), undone("ant"))
        level = a_level(1, {"zebra": {"gte": 1}, "ant": {"gte": 1}})
        found = a_catalog(
            a_type(level, counters=("zebra", "ant")), counters=counters, events=(MADE, UNDONE)
        )
        assert messages(found)[0].startswith("ant can fall, so")

    def test_nobody_has_a_level_by_doing_nothing(self) -> None:
        found = with_conditions({"points": {"gte": 0}})
        assert lint(found) == [
            Diagnostic(
                ("types", "walker", "levels", 1, "conditions"),
                "level 1 holds for somebody who did nothing yet: demand at least one of something.",
            )
        ]

    def test_a_level_that_is_always_overtaken_names_those_that_overtake_it(self) -> None:
        found = with_conditions(
            {"points": {"gte": 5}}, {"points": {"gte": 9}}, {"points": {"gte": 4}}
        )
        assert lint(found) == [
            Diagnostic(
                ("types", "walker", "levels", number, "conditions"),
                f"nobody can ever stand at level {number}: whenever `points >= {bound}`, "
                f"level {above} holds too. Demand more there.",
            )
            for number, bound, above in ((1, 5, "2 or 3"), (2, 9, "3"))
        ]

    def test_a_level_that_can_never_hold_overtakes_none(self) -> None:
        never = {"points": {"gte": 5, "lt": 5}}
        found = with_conditions({"points": {"gte": 5}}, never, order_dependent=True)
        assert lint(found) == [
            Diagnostic(
                ("types", "walker", "levels", 2, "conditions"),
                "level 2 can never be reached: nothing makes `points >= 5 and points < 5` true. "
                "Drop or change a part of it.",
            )
        ]

    def test_the_levels_after_one_that_can_never_hold_are_looked_at(self) -> None:
        never = {"points": {"gte": 5, "lt": 5}}
        found = with_conditions(
            never, {"points": {"gte": 9}}, {"points": {"gte": 4}}, order_dependent=True
        )
        assert paths(found) == [
            ("types", "walker", "levels", number, "conditions") for number in (1, 2)
        ]

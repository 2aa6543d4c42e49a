import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.errors import UsageError
from processor.catalog.load import SHIPPED, load, type_id
from store.values.catalog import Category, CounterKind, FieldKind, FieldSpec, OnchainPolicy
from store.values.names import CounterName, TypeCode

# A sound catalog in one file; each broken one below differs in a line or two.
SOUND = """\
events:
  step.made:
    topic: steps
    fields:
      step_id: {kind: id, required: true}
      height: {kind: integer}
      weight: {kind: number}
      colour: {kind: text}
  step.undone:
    topic: steps
    fields:
      step_id: {kind: id, required: true}
counters:
  steps: {kind: count, event: step.made}
  standing:
    kind: count
    event: step.made
    field: step_id
    undo: {event: step.undone, field: step_id}
types:
  walker:
    title: Walker
    description: Walks.
    category: traveler
    base_image_url: https://badges.example/walker.svg
    is_onchain_capable: true
    default_onchain_policy: rare_and_above
    counters: [steps, standing]
    metadata: {steps: steps}
    metadata_schema:
      properties:
        level: {type: integer, minimum: 1}
        steps: {type: integer, minimum: 0}
      required: [level]
    levels:
      1:
        title: Walker I
        description: Five steps.
        rarity: common
        conditions: {steps: {gte: 5}}
      2:
        title: Walker II
        description: Ten steps.
        rarity: rare
        auto_mint_onchain: true
        conditions: {steps: {gte: 10}}
"""


def a_directory(tmp_path: Path, text: str, name: str = "all.yaml") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def complaints(directory: Path) -> list[str]:
    """Return the lines of the refusal, with the directory taken off."""
    with pytest.raises(UsageError) as refused:
        load(directory)
    return [line.replace(f"{directory}/", "") for line in refused.value.message.splitlines()]


def test_a_sound_catalog_is_read_as_it_stands(tmp_path: Path) -> None:
    found = load(a_directory(tmp_path, SOUND))
    made, undone = found.events
    assert (made.type, made.topic, undone.type) == ("step.made", "steps", "step.undone")
    assert made.fields[0] == FieldSpec("step_id", FieldKind.ID, required=True)
    standing, steps = found.counters
    assert (steps.kind, steps.field, steps.undo_event_type) == (CounterKind.COUNT, None, None)
    assert (standing.field, standing.undo_event_type, standing.undo_field) == (
        "step_id",
        "step.undone",
        "step_id",
    )
    [walker] = found.types
    assert walker.id == type_id(TypeCode("walker"))
    assert walker.metadata_fields == {"steps": CounterName("steps")}
    assert [(level.level, level.order, level.conditions) for level in walker.levels] == [
        (1, 1, {"steps": {"gte": 5}}),
        (2, 2, {"steps": {"gte": 10}}),
    ]


def test_it_does_not_matter_which_file_holds_what(tmp_path: Path) -> None:
    whole = load(a_directory(tmp_path, SOUND))
    (tmp_path / "all.yaml").unlink()
    events, rest = SOUND.split("counters:\n", 1)
    counters, types = rest.split("types:\n", 1)
    a_directory(tmp_path, events, "z.yaml")
    a_directory(tmp_path, "counters:\n" + counters, "y.yaml")
    a_directory(tmp_path, "types:\n" + types, "x.yaml")
    assert load(tmp_path) == whole


def test_numbers_and_words_mean_what_they_look_like(tmp_path: Path) -> None:
    text = SOUND.replace("colour: {kind: text}", "no: {kind: text}").replace(
        "steps: {kind: count, event: step.made}",
        "steps: {kind: count, event: step.made, filter: {weight: {gte: 0.10}, no: {in: [yes, 2026-01-01, off]}}}",
    )
    steps = load(a_directory(tmp_path, text)).counters[1]
    assert steps.filter == {
        "weight": {"gte": Decimal("0.10")},
        "no": {"in": ["yes", "2026-01-01", "off"]},
    }


def test_a_types_id_is_the_same_everywhere() -> None:
    assert str(type_id(TypeCode("explorer"))) == "be88d610-4d8d-55f5-a53d-599c0d911866"


BROKEN = yaml.safe_load(
    Path(__file__).with_name("broken_catalogs.yaml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("broken", [pytest.param(case, id=case["case"]) for case in BROKEN])
def test_what_is_wrong_is_told_with_its_line_and_the_way_out(
    tmp_path: Path, broken: dict[str, Any]
) -> None:
    assert SOUND.count(broken["replace"]) == 1
    directory = a_directory(tmp_path, SOUND.replace(broken["replace"], broken["by"]))
    assert complaints(directory) == [f"all.yaml:{line}" for line in broken["says"]]


def test_all_problems_are_told_at_once_in_the_order_of_the_files(tmp_path: Path) -> None:
    a_directory(tmp_path, "types:\n  runner: {}\n", "b.yaml")
    a_directory(tmp_path, "counters:\n  steps: {kind: count}\n  leaps: 7\n", "a.yaml")
    found = complaints(tmp_path)
    assert [line.partition(": ")[0] for line in found] == ["a.yaml:2", "a.yaml:3"] + [
        "b.yaml:2"
    ] * 9


def test_a_name_defined_in_two_files_names_both_places(tmp_path: Path) -> None:
    a_directory(tmp_path, SOUND)
    a_directory(tmp_path, "counters:\n  steps: {kind: count, event: step.made}\n", "more.yaml")
    [line] = complaints(tmp_path)
    assert line == "more.yaml:2: `steps` was defined before, at all.yaml:14: keep one of the two."


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"events: \xff\n", "all.yaml:1: this is no UTF-8 text: save the file as UTF-8."),
        (
            b"",
            "all.yaml:1: the file is empty: remove it, or write events, counters or types into it.",
        ),
        (b"- 1\n", "all.yaml:1: expected a mapping with events, counters, types."),
        (b"types: 5\n", "all.yaml:1: `types` is no section: name its entries below it."),
    ],
)
def test_a_file_that_is_no_catalog(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "all.yaml").write_bytes(content)
    assert complaints(tmp_path) == [expected]


def test_aliases_that_explode_are_stopped(tmp_path: Path) -> None:
    bomb = "counters:\n  a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"  {name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
        for before, name in zip("abcdef", "bcdefg", strict=True)
    )
    assert any(
        "more than 100000 values" in line for line in complaints(a_directory(tmp_path, bomb))
    )


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_directory_without_a_catalog(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "catalog"
    if kind == "empty":
        place.mkdir()
    elif kind == "file":
        place.write_text("events: {}")
    with pytest.raises(
        UsageError, match="name a catalog's directory, or leave it out for the shipped one"
    ):
        load(place)


def test_the_example_of_the_documentation_is_sound(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "catalog.md"
    parts = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for number, part in enumerate(parts):
        a_directory(tmp_path, part, f"{number}.yaml")
    found = load(tmp_path)
    assert (len(found.events), len(found.counters), [len(each.levels) for each in found.types]) == (
        3,
        4,
        [2],
    )


class TestShipped:
    def test_it_is_sound_and_has_what_the_seed_names(self) -> None:
        found = load(SHIPPED)
        assert {badge_type.code for badge_type in found.types} == {
            "explorer", "city_explorer", "rf_reviewer", "quest_author", "premium_voucher_user", "ambassador",
        }  # fmt: skip
        assert {badge_type.category for badge_type in found.types} == set(Category)
        assert {badge_type.default_onchain_policy for badge_type in found.types} == set(
            OnchainPolicy
        )

    def test_every_type_has_three_levels_of_rising_rarity_with_pictures(self) -> None:
        for badge_type in load(SHIPPED).types:
            ranks = [level.rarity.rank for level in badge_type.levels]
            assert len(set(ranks)) == 3
            assert ranks == sorted(ranks)
            assert all(level.image_url for level in badge_type.levels)

    def test_explorer_is_the_seeds_example(self) -> None:
        explorer = next(each for each in load(SHIPPED).types if each.code == "explorer")
        assert explorer.metadata_schema == {
            "properties": {
                "level": {"type": "integer", "minimum": 1},
                "quest_completed_count": {"type": "integer", "minimum": 0},
                "city_count": {"type": "integer", "minimum": 0},
            },
            "required": ["level"],
        }
        assert explorer.levels[0].conditions == {
            "quest_completed_count": {"gte": 5},
            "unique_cities_visited": {"gte": 3},
        }

    def test_the_events_are_the_contracts(self) -> None:
        contract = {
            event.type: (
                event.topic,
                {field.name for field in event.fields},
                {field.name for field in event.fields if field.required},
            )
            for event in load(SHIPPED).events
        }
        assert contract == {
            "quest.completed": (
                "quests",
                {"quest_id", "city_id", "author_id", "rating", "duration_s"},
                {"quest_id"},
            ),
            "quest.published": ("quests", {"quest_id"}, {"quest_id"}),
            "city.visited": ("cities", {"city_id", "country"}, {"city_id"}),
            "review.posted": (
                "reviews",
                {"review_id", "place_id", "stars", "length"},
                {"review_id"},
            ),
            "review.removed": ("reviews", {"review_id"}, {"review_id"}),
            "partner.joined": ("partners", {"partner_id"}, {"partner_id"}),
            "voucher.redeemed": ("partners", {"voucher_id", "tier"}, {"voucher_id"}),
        }

"""A schema is sound when no counter can break it."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from processor.catalog.metadata_schema import schema_diagnostics
from processor.rules.diagnostics import Diagnostic, KeyPath
from store.values.names import CounterName
from tests.builders.catalogs import a_level, a_type

WAY_OUT = "a counter could break it: drop it."


def problems(
    schema: dict[Any, Any], *, is_integer: bool = True, **changes: Any
) -> list[tuple[KeyPath, str]]:
    """Return what is wrong with `schema` for a type that maps `points` to `steps`."""
    badge_type = a_type(
        **{"metadata_fields": {"points": CounterName("steps")}, "counters": ("steps",)} | changes,
        metadata_schema=schema,
    )

    def is_whole(name: str) -> bool:
        assert name == "steps"
        return is_integer

    found = list(schema_diagnostics(badge_type, is_whole))
    assert all(isinstance(each, Diagnostic) and each.location is None for each in found)
    return [(each.path, each.message) for each in found]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://x.example/y"},
        {"title": "t", "description": "d", "$comment": "c", "default": {}, "examples": []},
        {"properties": {"level": {"type": "integer", "minimum": 1}}},
        {"properties": {"points": {"type": "number", "minimum": 0}}},
        {"properties": {"points": {"type": ["null", "integer"], "minimum": -1}}},
        {"properties": {"points": True, "level": {}}},
        {"properties": {"points": {"title": "t", "description": "d", "default": 0}}},
        {"properties": {"other": {"enum": ["a"]}}},
        {"required": ["level", "points"]},
        {"additionalProperties": True},
        {"additionalProperties": False, "properties": {"level": {}, "points": {}}},
    ],
)
def test_a_schema_that_every_badge_keeps_to(schema: dict[str, object]) -> None:
    assert problems(schema) == []
    # The proof, tried: a few of the badges that Laurel would write.
    for level, points in ((1, 0), (3, 7), (2, 10**29)):
        Draft202012Validator(schema).validate({"level": level, "points": points})


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        (
            {"minProperties": 7},
            ("minProperties",),
            "`minProperties` cannot be proved to hold for every badge: drop it.",
        ),
        ({"type": "array"}, ("type",), "metadata is an object: write `type: object`, or drop it."),
        (
            {"type": "strin"},
            ("type",),
            "this is no JSON schema: 'strin' is not valid under any of the given schemas.",
        ),
        (
            {"properties": {"points": {"minimum": "0"}}},
            ("properties", "points", "minimum"),
            "this is no JSON schema: '0' is not of type 'number'.",
        ),
        (
            {"required": ["city"]},
            ("required",),
            "nothing fills `city`: map it in `metadata`, or do not require it.",
        ),
        (
            {"additionalProperties": False, "properties": {"level": {}}},
            ("additionalProperties",),
            "`points` is written and not among the properties: add it.",
        ),
        (
            {"additionalProperties": {}, "properties": {"points": {}}},
            ("additionalProperties",),
            "`level` is written and not among the properties: add it.",
        ),
        (
            {"properties": {"points": False}},
            ("properties", "points"),
            f"`false` refuses every value: {WAY_OUT}",
        ),
        (
            {"properties": {"points": {"maximum": 9}}},
            ("properties", "points", "maximum"),
            f"`maximum`: {WAY_OUT}",
        ),
        (
            {"properties": {"level": {"const": 1}}},
            ("properties", "level", "const"),
            f"`const`: {WAY_OUT}",
        ),
        (
            {"properties": {"points": {"type": "string"}}},
            ("properties", "points", "type"),
            "the type must be integer or number, not string.",
        ),
        (
            {"properties": {"points": {"type": ["string", "null"]}}},
            ("properties", "points", "type"),
            "the type must be integer or number, not ['string', 'null'].",
        ),
        (
            {"properties": {"points": {"minimum": 1}}},
            ("properties", "points", "minimum"),
            f"a minimum of 1 refuses 0: {WAY_OUT}",
        ),
        (
            {"properties": {"level": {"minimum": 2}}},
            ("properties", "level", "minimum"),
            f"a minimum of 2 refuses 1: {WAY_OUT}",
        ),
    ],
)
def test_what_a_counter_could_break_is_told(
    schema: dict[str, object], path: KeyPath, message: str
) -> None:
    assert problems(schema) == [(("metadata_schema", *path), message)]


def test_a_sum_of_decimals_is_no_integer() -> None:
    integer = {"properties": {"points": {"type": "integer"}}}
    assert problems(integer, is_integer=False) == [
        (
            ("metadata_schema", "properties", "points", "type"),
            "the type must be number: the counter is a sum of decimals, not integer.",
        )
    ]
    assert problems({"properties": {"points": {"type": "number"}}}, is_integer=False) == []
    # The level stays a whole number, whatever the counters are.
    assert problems({"properties": {"level": {"type": "integer"}}}, is_integer=False) == []


def test_the_lowest_level_bounds_the_minimum() -> None:
    schema = {"properties": {"level": {"minimum": 3}}}
    assert problems(schema, levels=(a_level(4), a_level(3))) == []
    [(_path, message)] = problems(schema, levels=(a_level(2), a_level(4)))
    assert message == f"a minimum of 3 refuses 2: {WAY_OUT}"
    # A type without levels is told elsewhere; here it counts as beginning at 1.
    [(_path, message)] = problems(schema, levels=())
    assert message == f"a minimum of 3 refuses 1: {WAY_OUT}"


def test_every_problem_is_told() -> None:
    schema = {
        "type": "array",
        "minProperties": 1,
        "required": ["a", "b"],
        "properties": {"level": False, "points": {"maximum": 1, "minimum": 1}},
    }
    assert [path for path, _message in problems(schema)] == [
        ("metadata_schema", "minProperties"),
        ("metadata_schema", "type"),
        ("metadata_schema", "required"),
        ("metadata_schema", "required"),
        ("metadata_schema", "properties", "level"),
        ("metadata_schema", "properties", "points", "maximum"),
        ("metadata_schema", "properties", "points", "minimum"),
    ]


def test_level_is_no_field_for_a_counter() -> None:
    fields = {"level": CounterName("steps")}
    assert problems({}, metadata_fields=fields) == [
        (
            ("metadata", "level"),
            "`level` is always the badge's level: choose another field for the counter.",
        )
    ]


@pytest.mark.parametrize("schema", [{1: {}}, {"examples": [{"a": [{True: 1}]}]}])
def test_a_key_that_json_does_not_have_is_told_alone(schema: dict[Any, Any]) -> None:
    assert problems(schema | {"minProperties": 7}) == [
        (
            ("metadata_schema",),
            "a key here is no string: JSON has no others. Put it in quotes.",
        )
    ]

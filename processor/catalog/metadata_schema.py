"""Prove that a type's metadata can never break its metadata_schema.

Metadata is written while events are counted, where there is nobody to ask. So a schema may say of
the fields that Laurel fills only what every counter keeps to, and lint refuses the rest, instead of
a worker that stops at a badge.

Pure.
"""

from collections.abc import Callable, Iterator, Mapping

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from processor.rules.conditions import Fault, is_number
from store.values import TypeSpec

_NOTES = frozenset({"title", "description", "$comment", "default", "examples"})
_ROOT = _NOTES | {"$schema", "$id", "type", "properties", "required", "additionalProperties"}
_FILLED = _NOTES | {"type", "minimum"}
_WAY_OUT = "a counter could break it: drop it."


def schema_faults(badge_type: TypeSpec, whole: Callable[[str], bool]) -> Iterator[Fault]:
    """Yield what in the schema could refuse the metadata that Laurel writes.

    `level` and the mapped counters.

    Args:
        badge_type: its metadata_schema, metadata_fields and levels.
        whole: which counters take whole numbers only.
    """
    schema, path = badge_type.metadata_schema, ("metadata_schema",)
    if "level" in badge_type.metadata_fields:
        yield Fault(
            ("metadata", "level"),
            "`level` is always the badge's level: choose another field for the counter.",
        )
    if not _only_strings(schema):
        yield Fault(path, "a key here is no string: JSON has no others. Put it in quotes.")
        return
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        yield Fault((*path, *error.absolute_path), f"this is no JSON schema: {error.message}.")
        return
    for keyword in schema:
        if keyword not in _ROOT:
            yield Fault(
                (*path, keyword), f"`{keyword}` cannot be proved to hold for every badge: drop it."
            )
    if schema.get("type", "object") != "object":
        yield Fault((*path, "type"), "metadata is an object: write `type: object`, or drop it.")
    for fault in _fields(badge_type, whole):
        yield Fault((*path, *fault.path), fault.message)


def _fields(badge_type: TypeSpec, whole: Callable[[str], bool]) -> Iterator[Fault]:
    schema = badge_type.metadata_schema
    properties: Mapping[str, object] = schema.get("properties", {})  # type: ignore[assignment]  # check_schema saw to it
    required: list[str] = schema.get("required", [])  # type: ignore[assignment]
    filled = {"level", *badge_type.metadata_fields}
    for name in required:
        if name not in filled:
            yield Fault(
                ("required",),
                f"nothing fills `{name}`: map it in `metadata`, or do not require it.",
            )
    if schema.get("additionalProperties", True) is not True:
        for name in sorted(filled - properties.keys()):
            yield Fault(
                ("additionalProperties",),
                f"`{name}` is written and not among the properties: add it.",
            )
    for name in sorted(filled & properties.keys()):
        counter = badge_type.metadata_fields.get(name)
        lowest = (
            min((level.level for level in badge_type.levels), default=1) if counter is None else 0
        )
        yield from _filled(
            ("properties", name), properties[name], lowest, whole=counter is None or whole(counter)
        )


def _filled(
    path: tuple[str | int, ...], schema: object, lowest: int, *, whole: bool
) -> Iterator[Fault]:
    """Yield what in the `schema` of one filled property could refuse a number from `lowest` up."""
    if not isinstance(schema, Mapping):
        if schema is False:
            yield Fault(path, f"`false` refuses every value: {_WAY_OUT}")
        return
    for keyword in schema:
        if keyword not in _FILLED:
            yield Fault((*path, keyword), f"`{keyword}`: {_WAY_OUT}")
    allowed = schema.get("type", "number")
    kinds = allowed if isinstance(allowed, list) else [allowed]
    if "number" not in kinds and not (whole and "integer" in kinds):
        wanted = "integer or number" if whole else "number: the counter is a sum of decimals"
        yield Fault((*path, "type"), f"the type must be {wanted}, not {allowed}.")
    minimum = schema.get("minimum")
    if is_number(minimum) and minimum > lowest:
        yield Fault((*path, "minimum"), f"a minimum of {minimum} refuses {lowest}: {_WAY_OUT}")


def _only_strings(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _only_strings(inner) for key, inner in value.items())
    return all(map(_only_strings, value)) if isinstance(value, list) else True

"""Prove that a type's metadata can never break its metadata_schema.

Metadata is written while events are counted, where there is nobody to ask. So a schema may say of
the fields that Laurel fills only what every counter keeps to, and lint refuses the rest, instead of
a worker that stops at a badge.

Pure.
"""

from collections.abc import Callable, Iterator, Mapping

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from processor.rules.conditions import is_number
from processor.rules.diagnostics import Diagnostic, KeyPath
from store.values.catalog import TypeSpec

_NOTES = frozenset({"title", "description", "$comment", "default", "examples"})
_ROOT = _NOTES | {"$schema", "$id", "type", "properties", "required", "additionalProperties"}
_FILLED = _NOTES | {"type", "minimum"}
_WAY_OUT = "a counter could break it: drop it."


def schema_diagnostics(
    badge_type: TypeSpec, is_integer: Callable[[str], bool]
) -> Iterator[Diagnostic]:
    """Yield what in the schema could refuse the metadata: `level` and the mapped counters.

    Args:
        badge_type: its metadata_schema, metadata_fields and levels.
        is_integer: which counters take whole numbers only.
    """
    schema, path = badge_type.metadata_schema, ("metadata_schema",)
    if "level" in badge_type.metadata_fields:
        yield Diagnostic(
            ("metadata", "level"),
            "`level` is always the badge's level: choose another field for the counter.",
        )
    if not _only_strings(schema):
        yield Diagnostic(path, "a key here is no string: JSON has no others. Put it in quotes.")
        return
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        yield Diagnostic((*path, *error.absolute_path), f"this is no JSON schema: {error.message}.")
        return
    for keyword in schema:
        if keyword not in _ROOT:
            yield Diagnostic(
                (*path, keyword), f"`{keyword}` cannot be proved to hold for every badge: drop it."
            )
    if schema.get("type", "object") != "object":
        yield Diagnostic(
            (*path, "type"), "metadata is an object: write `type: object`, or drop it."
        )
    for diagnostic in _fields(badge_type, is_integer):
        yield Diagnostic((*path, *diagnostic.path), diagnostic.message)


def _fields(badge_type: TypeSpec, is_integer: Callable[[str], bool]) -> Iterator[Diagnostic]:
    schema = badge_type.metadata_schema
    # check_schema saw to the types.
    properties: Mapping[str, object] = schema.get("properties", {})  # type: ignore[assignment]
    required: list[str] = schema.get("required", [])  # type: ignore[assignment]
    filled = {"level", *badge_type.metadata_fields}
    for name in required:
        if name not in filled:
            yield Diagnostic(
                ("required",),
                f"nothing fills `{name}`: map it in `metadata`, or do not require it.",
            )
    if schema.get("additionalProperties", True) is not True:
        for name in sorted(filled - properties.keys()):
            yield Diagnostic(
                ("additionalProperties",),
                f"`{name}` is written and not among the properties: add it.",
            )
    for name in sorted(filled & properties.keys()):
        counter = badge_type.metadata_fields.get(name)
        lowest = (
            min((level.level for level in badge_type.levels), default=1) if counter is None else 0
        )
        yield from _filled(
            ("properties", name),
            properties[name],
            lowest,
            is_integer=counter is None or is_integer(counter),
        )


def _filled(
    path: KeyPath, schema: object, lowest: int, *, is_integer: bool
) -> Iterator[Diagnostic]:
    """Yield what in the `schema` of one filled property could refuse a number from `lowest` up."""
    if not isinstance(schema, Mapping):
        if schema is False:
            yield Diagnostic(path, f"`false` refuses every value: {_WAY_OUT}")
        return
    for keyword in schema:
        if keyword not in _FILLED:
            yield Diagnostic((*path, keyword), f"`{keyword}`: {_WAY_OUT}")
    allowed = schema.get("type", "number")
    kinds = allowed if isinstance(allowed, list) else [allowed]
    if "number" not in kinds and not (is_integer and "integer" in kinds):
        wanted = "integer or number" if is_integer else "number: the counter is a sum of decimals"
        yield Diagnostic((*path, "type"), f"the type must be {wanted}, not {allowed}.")
    minimum = schema.get("minimum")
    if is_number(minimum) and minimum > lowest:
        yield Diagnostic((*path, "minimum"), f"a minimum of {minimum} refuses {lowest}: {_WAY_OUT}")


def _only_strings(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _only_strings(inner) for key, inner in value.items())
    return all(map(_only_strings, value)) if isinstance(value, list) else True

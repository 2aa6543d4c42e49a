"""Load the catalog: a directory of YAML files in, one checked Catalog out.

Each file may hold any of the sections `events`, `counters` and `types`; the names in them are
unique over all files. Everything that is wrong is reported at once, with file, line and the way out
(docs/catalog.md). What they mean together is checked by processor/catalog/lint.py.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ops.errors import UsageError
from processor.catalog.lint import lint
from processor.catalog.yaml_source import read
from processor.events.reader import EventReader
from processor.rules.counters import counter_bindings
from processor.rules.diagnostics import Diagnostic, KeyPath, SourceLocation
from processor.rules.levels import Rulebook
from store.values.catalog import (
    Catalog,
    Category,
    CounterKind,
    CounterSpec,
    EventSpec,
    FieldKind,
    FieldSpec,
    LevelSpec,
    OnchainPolicy,
    Rarity,
    TypeSpec,
)
from store.values.names import CounterName, TypeCode

SHIPPED = Path(__file__).resolve().parents[2] / "catalog"
# Any UUID, fixed for ever: an nft_type.id is the same in every installation, and derived files can
# name it.
TYPE_NAMESPACE = UUID("7ea27d75-60f9-5029-84af-34c78e39a3b3")


_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
# PostgreSQL's integer: nft_level_rule.level and .order.
_Int4 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Field(_Document):
    kind: Annotated[FieldKind, Field(strict=False)]
    required: bool = False
    minimum: int | None = None
    maximum: int | None = None


class _Event(_Document):
    topic: str
    fields: dict[str, _Field] = {}


class _Undo(_Document):
    event: str
    field: str


class _Counter(_Document):
    kind: Annotated[CounterKind, Field(strict=False)]
    event: str
    field: str | None = None
    filter: Any = None
    undo: _Undo | None = None


class _Words(_Document):
    title: str = Field(min_length=1, max_length=255)
    description: str


class _Level(_Words):
    order: _Int4 | None = None
    rarity: Annotated[Rarity, Field(strict=False)]
    image_url: str | None = None
    conditions: Any
    auto_mint_onchain: bool = False
    onchain_policy: Annotated[OnchainPolicy | None, Field(strict=False)] = None
    order_dependent: bool = False
    i18n: dict[str, _Words] = {}


class _Type(_Words):
    category: Annotated[Category, Field(strict=False)]
    base_image_url: str
    is_onchain_capable: bool
    default_onchain_policy: Annotated[OnchainPolicy, Field(strict=False)]
    onchain_min_rarity: Annotated[Rarity, Field(strict=False)] = Rarity.RARE
    metadata_schema: dict[str, Any]
    metadata: dict[str, str] = {}
    counters: tuple[str, ...] = Field(strict=False)
    levels: dict[_Int4, _Level]
    i18n: dict[str, _Words] = {}


class _CatalogDocument(_Document):
    events: dict[str, _Event] = {}
    counters: dict[str, _Counter] = {}
    types: dict[str, _Type] = {}


_SECTIONS = tuple(_CatalogDocument.model_fields)
_KEYS = {
    name
    for model in (_Field, _Event, _Undo, _Counter, _Words, _Level, _Type, _CatalogDocument)
    for name in model.model_fields
}


def type_id(code: TypeCode) -> UUID:
    """Return nft_type.id of the type called `code`: the same in every database."""
    return uuid5(TYPE_NAMESPACE, code)


def load(directory: Path) -> Catalog:
    """Read and check the catalog in `directory`; version and counter ids are 0 until it is applied.

    Raises:
        UsageError: something is wrong; the message has a line `file:line: what, and the way out`
            for each problem.
    """
    files = sorted(directory.glob("*.yaml")) if directory.is_dir() else []
    if not files:
        what = "holds no *.yaml files" if directory.is_dir() else "is no directory"
        raise UsageError(
            f"{directory} {what}: name a catalog's directory, or leave it out for the shipped one."
        )
    sections, locations, diagnostics = _gathered(files)
    _refuse([*diagnostics, *_located(_unstorable(sections), locations)])
    try:
        document = _CatalogDocument.model_validate(sections)
    except ValidationError as error:
        _refuse(
            _located(
                (Diagnostic(_path(item["loc"]), _explained(item)) for item in error.errors()),
                locations,
            )
        )
        raise  # unreachable: a ValidationError has at least one error
    catalog = _catalog(document)
    _refuse(_located(lint(catalog), locations))
    _refuse(_located(_unusable(catalog), locations))
    return catalog


def _unstorable(value: object, path: KeyPath = ()) -> Iterator[Diagnostic]:
    """Yield the texts, keys among them, that PostgreSQL cannot store."""
    match value:
        case str() if "\x00" in value or (not value.isascii() and _HALF_A_CHARACTER.search(value)):
            yield Diagnostic(
                path, "a text holds the character NUL, or half of a character: write another one."
            )
        case Mapping():
            for key, inner in value.items():
                yield from _unstorable(key, (*path, key))
                yield from _unstorable(inner, (*path, key))
        case list():
            for place, inner in enumerate(value):
                yield from _unstorable(inner, (*path, place))
        case _:
            pass


def _unusable(catalog: Catalog) -> Iterator[Diagnostic]:
    """Build what a worker builds of a catalog: nothing that lint passes can stop one."""
    try:
        EventReader(catalog, UUID(int=0), timedelta(), None)
        Rulebook.compile(catalog)
        counter_bindings(catalog)
    except (ValueError, TypeError) as error:
        yield Diagnostic(
            (), f"a worker cannot use this catalog: {error}. Lint should have said why: report it."
        )


def _gathered(
    files: Iterable[Path],
) -> tuple[dict[str, dict[Any, object]], dict[KeyPath, SourceLocation], list[Diagnostic]]:
    """Return the sections of all files as one, every path's location, and what is wrong so far."""
    sections: dict[str, dict[Any, object]] = {name: {} for name in _SECTIONS}
    locations: dict[KeyPath, SourceLocation] = {}
    diagnostics: list[Diagnostic] = []
    for file in files:
        source = read(file)
        diagnostics += source.diagnostics
        if source.diagnostics:
            continue
        found: object = source.value
        if not isinstance(found, Mapping):
            diagnostics.append(
                Diagnostic(
                    (),
                    f"expected a mapping with {', '.join(_SECTIONS)}.",
                    SourceLocation(str(file), 1),
                )
            )
            continue
        for section, entries in found.items():
            here = source.locations[(section,)]
            if section not in sections or not isinstance(entries, Mapping):
                expected = (
                    f"take one of {', '.join(_SECTIONS)}"
                    if section not in sections
                    else "name its entries below it"
                )
                message = f"`{section}` is no section: {expected}."
                diagnostics.append(Diagnostic((), message, here))
                continue
            for name, entry in entries.items():
                path: KeyPath = (section, name)
                if name in sections[section]:
                    there = source.locations[path]
                    diagnostics.append(
                        Diagnostic(
                            (),
                            f"`{name}` was defined before, at {locations[path]}: "
                            "keep one of the two.",
                            there,
                        )
                    )
                    continue
                sections[section][name] = entry
                locations |= {
                    each: location
                    for each, location in source.locations.items()
                    if each[:2] == path
                }
    return sections, locations, diagnostics


def _catalog(document: _CatalogDocument) -> Catalog:
    """Return the catalog, sorted by name: which file holds what makes no new version."""
    return Catalog(
        version=0,
        events=tuple(
            EventSpec(
                name,
                event.topic,
                tuple(FieldSpec(each, **spec.model_dump()) for each, spec in event.fields.items()),
            )
            for name, event in sorted(document.events.items())
        ),
        counters=tuple(
            _counter(name, counter) for name, counter in sorted(document.counters.items())
        ),
        types=tuple(
            _type(TypeCode(code), badge_type) for code, badge_type in sorted(document.types.items())
        ),
    )


def _counter(name: str, counter: _Counter) -> CounterSpec:
    return CounterSpec(
        id=0,
        name=CounterName(name),
        kind=counter.kind,
        event_type=counter.event,
        field=counter.field,
        filter=counter.filter,
        undo_event_type=counter.undo.event if counter.undo else None,
        undo_field=counter.undo.field if counter.undo else None,
    )


def _type(code: TypeCode, found: _Type) -> TypeSpec:
    return TypeSpec(
        id=type_id(code),
        code=code,
        title=found.title,
        description=found.description,
        category=found.category,
        base_image_url=found.base_image_url,
        is_onchain_capable=found.is_onchain_capable,
        default_onchain_policy=found.default_onchain_policy,
        onchain_min_rarity=found.onchain_min_rarity,
        metadata_schema=found.metadata_schema,
        counters=tuple(CounterName(name) for name in found.counters),
        metadata_fields={field: CounterName(name) for field, name in found.metadata.items()},
        levels=tuple(_level(number, level) for number, level in sorted(found.levels.items())),
        i18n={locale: words.model_dump() for locale, words in found.i18n.items()},
    )


def _level(number: int, found: _Level) -> LevelSpec:
    return LevelSpec(
        level=number,
        order=number if found.order is None else found.order,
        title=found.title,
        description=found.description,
        rarity=found.rarity,
        image_url=found.image_url,
        conditions=found.conditions,
        auto_mint_onchain=found.auto_mint_onchain,
        onchain_policy=found.onchain_policy,
        order_dependent=found.order_dependent,
        i18n={locale: words.model_dump() for locale, words in found.i18n.items()},
    )


def _located(
    diagnostics: Iterable[Diagnostic], locations: Mapping[KeyPath, SourceLocation]
) -> list[Diagnostic]:
    return [replace(each, location=_nearest(each.path, locations)) for each in diagnostics]


def _nearest(path: KeyPath, locations: Mapping[KeyPath, SourceLocation]) -> SourceLocation:
    """Return the location of `path`, or of the innermost part around it that stands in a file.

    What is missing has no line.
    """
    for length in range(len(path), 1, -1):
        if path[:length] in locations:
            return locations[path[:length]]
    return next(iter(locations.values()), SourceLocation("catalog", 1))


def _path(location: tuple[int | str, ...]) -> KeyPath:
    return tuple(part for part in location if part != "[key]")


def _explained(item: ErrorDetails) -> str:
    key = str(item["loc"][-1])
    match item["type"]:
        case "missing":
            return f"`{key}` is missing: add it."
        case "extra_forbidden":
            near = get_close_matches(key, _KEYS - {key}, n=1)
            return f"there is no key `{key}` here: " + (
                f"did you mean `{near[0]}`?" if near else "remove it."
            )
        case _:
            message = item["msg"][:1].lower() + item["msg"][1:]
            shown = repr(item["input"])
            return f"{message}, not {shown if len(shown) <= 60 else type(item['input']).__name__}."


def _refuse(diagnostics: list[Diagnostic]) -> None:
    """Raise UsageError with all `diagnostics`, in the files' order; none is fine."""
    if diagnostics:
        ordered = sorted(diagnostics, key=_source_order)
        raise UsageError("\n".join(map(str, ordered)), problems=len(ordered))


def _source_order(diagnostic: Diagnostic) -> tuple[str, int]:
    location = diagnostic.location
    return ("", 0) if location is None else (location.file, location.line)

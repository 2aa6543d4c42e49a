"""Check a catalog beyond its form: names, reachable levels, and outcomes that no order changes.

Pure: a Catalog in, diagnostics with their paths out; processor/catalog/load.py adds file and line.
Every rule in prose: docs/catalog.md.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from processor.catalog.metadata_schema import schema_diagnostics
from processor.events.message_schema import INTEGER_MAX
from processor.rules.conditions import (
    Condition,
    RuleError,
    comparisons,
    holds,
    is_monotone,
    parse_condition,
    parse_filter,
)
from processor.rules.counters import KINDS, NUMERIC, can_fall, field_kinds_of
from processor.rules.diagnostics import Diagnostic, KeyPath
from processor.rules.onchain_policy import may_mint
from processor.rules.reachability import reachable
from store.values.catalog import (
    Catalog,
    CounterSpec,
    EventSpec,
    FieldKind,
    FieldSpec,
    LevelSpec,
    TypeSpec,
)
from store.values.names import CounterName

# Laurel's own topics and events: the code knows their fields, so that the catalog cannot declare
# them.
RESERVED_TOPICS = frozenset({"wallets", "commands", "badges", "dead-letters"})
RESERVED_EVENTS = ("wallet.", "badge.", "achievement.")
RESERVED_WORDS = frozenset({"all", "any", "not"})

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_EVENT = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_TOPIC = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_URL = re.compile(r"(https?|ipfs)://\S+")
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def lint(catalog: Catalog) -> list[Diagnostic]:
    """Return a diagnostic for everything that is wrong with `catalog`: none when it is sound."""
    return list(_Lint(catalog).diagnostics())


class _Lint:
    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.events = {event.type: event for event in catalog.events}
        self.counters = {counter.name: counter for counter in catalog.counters}

    def diagnostics(self) -> Iterator[Diagnostic]:
        for event in self.catalog.events:
            yield from _event(event)
        yield from self._topics()
        for counter in self.catalog.counters:
            yield from self._counter(counter)
        for badge_type in self.catalog.types:
            yield from self._type(badge_type)

    def _topics(self) -> Iterator[Diagnostic]:
        """Kafka takes `.` and `_` in topics for the same, and makes only one of two such topics."""
        alike: dict[str, str] = {}
        for event in self.catalog.events:
            other = alike.setdefault(event.topic.replace(".", "_"), event.topic)
            if other != event.topic:
                yield Diagnostic(
                    ("events", event.type, "topic"),
                    f"to Kafka {event.topic} is the same as {other}: rename one of the two.",
                )

    # -------------------------------------------------------------- counters

    def _counter(self, counter: CounterSpec) -> Iterator[Diagnostic]:
        path = ("counters", counter.name)
        if not _NAME.fullmatch(counter.name) or counter.name in RESERVED_WORDS:
            yield Diagnostic(
                path,
                "a counter's name is lower-case letters, digits and _, at most 64, and none of "
                "all, any, not: rename it.",
            )
        if not any(counter.name in badge_type.counters for badge_type in self.catalog.types):
            yield Diagnostic(
                path,
                "no type uses this counter, so nothing would keep its value: name it in a type's "
                "counters, or drop it.",
            )
        event = self.events.get(counter.event_type)
        if event is None:
            yield Diagnostic(
                (*path, "event"),
                f"there is no event type {counter.event_type}{_known(self.events)}",
            )
            return
        yield from self._counter_field(counter, event)
        yield from self._undo(counter)
        if counter.filter is not None:
            yield from _filter(counter, event)

    def _counter_field(self, counter: CounterSpec, event: EventSpec) -> Iterator[Diagnostic]:
        path = ("counters", counter.name, "field")
        takes = field_kinds_of(counter)
        if counter.field is None:
            if KINDS[counter.kind].field_kinds:
                yield Diagnostic(
                    path, f"a counter of kind {counter.kind} reads a field: add `field`."
                )
            elif takes:
                yield Diagnostic(
                    path, f"`undo` pairs two events by an id: add `field`, the id in {event.type}."
                )
            return
        spec = _field(event, counter.field)
        if spec is None:
            yield Diagnostic(
                path,
                f"{event.type} declares no field {counter.field}"
                f"{_known(each.name for each in event.fields)}",
            )
        elif not takes:
            yield Diagnostic(
                path,
                "a plain count reads no field: drop `field`, add `undo`, or take kind distinct.",
            )
        elif spec.kind not in takes:
            why = (
                "but its values are remembered: only kind id is short enough"
                if FieldKind.ID in takes
                else f"{counter.kind} needs {' or '.join(sorted(takes))}"
            )
            yield Diagnostic(path, f"{counter.field} is of kind {spec.kind}, {why}.")
        elif spec.kind in NUMERIC and not _never_negative(spec):
            yield Diagnostic(
                path,
                f"{counter.field} may be negative, and counters never fall: give the field "
                "`minimum: 0`.",
            )

    def _undo(self, counter: CounterSpec) -> Iterator[Diagnostic]:
        if counter.undo_event_type is None:
            return
        path = ("counters", counter.name, "undo")
        if not KINDS[counter.kind].is_undoable:
            yield Diagnostic(
                path, f"only a count can be undone, not a {counter.kind}: drop `undo`."
            )
        undo = self.events.get(counter.undo_event_type)
        if undo is None:
            yield Diagnostic(
                (*path, "event"),
                f"there is no event type {counter.undo_event_type}{_known(self.events)}",
            )
            return
        if undo.type == counter.event_type:
            yield Diagnostic(
                (*path, "event"), "an event cannot undo itself: name another event type."
            )
        for event, name in (
            (self.events[counter.event_type], counter.field),
            (undo, counter.undo_field),
        ):
            spec = _field(event, name or "")
            if spec is None and event is undo:
                yield Diagnostic(
                    (*path, "field"),
                    f"{event.type} declares no field {name}"
                    f"{_known(each.name for each in event.fields)}",
                )
            elif spec is not None and not (spec.required and spec.kind is FieldKind.ID):
                yield Diagnostic(
                    (*path, "field"),
                    f"{event.type}.{name} pairs two events: it must be of kind id and "
                    "`required: true`.",
                )

    # -------------------------------------------------------------- types

    def _type(self, badge_type: TypeSpec) -> Iterator[Diagnostic]:
        path = ("types", badge_type.code)
        if not _NAME.fullmatch(badge_type.code):
            yield Diagnostic(
                path, "a type's code is lower-case letters, digits and _, at most 64: rename it."
            )
        yield from _url((*path, "base_image_url"), badge_type.base_image_url)
        yield from _locales(path, badge_type.i18n)
        for place, name in enumerate(badge_type.counters):
            if name not in self.counters:
                yield Diagnostic(
                    (*path, "counters", place), f"there is no counter {name}{_known(self.counters)}"
                )
            elif name in badge_type.counters[:place]:
                yield Diagnostic((*path, "counters", place), f"{name} is named twice: keep one.")
        if not badge_type.counters:
            yield Diagnostic(
                (*path, "counters"),
                "a type without counters can never be earned: name at least one.",
            )
        for field, name in badge_type.metadata_fields.items():
            if name not in badge_type.counters:
                yield Diagnostic(
                    (*path, "metadata", field),
                    f"{name} is no counter of this type{_known(badge_type.counters)}",
                )
        for diagnostic in schema_diagnostics(badge_type, self._is_integer):
            yield Diagnostic((*path, *diagnostic.path), diagnostic.message)
        if not badge_type.levels:
            yield Diagnostic((*path, "levels"), "a type needs at least one level: add level 1.")
        yield from self._levels(badge_type)

    def _levels(self, badge_type: TypeSpec) -> Iterator[Diagnostic]:
        for lower, upper in pairwise(badge_type.levels):
            path = ("types", badge_type.code, "levels", upper.level)
            if upper.order <= lower.order:
                yield Diagnostic(
                    (*path, "order"),
                    f"level {upper.level} has order {upper.order}, level {lower.level} has "
                    f"{lower.order}: they rise together.",
                )
            if upper.rarity.rank < lower.rarity.rank:
                yield Diagnostic(
                    (*path, "rarity"),
                    f"level {upper.level} is {upper.rarity}, less rare than level {lower.level}: "
                    f"{lower.rarity}.",
                )
        parsed: dict[int, Condition] = {}
        for level in badge_type.levels:
            path = ("types", badge_type.code, "levels", level.level)
            yield from self._level(badge_type, level)
            try:
                parsed[level.level] = parse_condition(level.conditions)
            except RuleError as error:
                yield from (
                    Diagnostic((*path, "conditions", *diagnostic.path), f"{diagnostic.message}.")
                    for diagnostic in error.diagnostics
                )
                continue
            yield from self._conditions(badge_type, level, parsed[level.level])
        yield from self._reach(badge_type, parsed)

    def _level(self, badge_type: TypeSpec, level: LevelSpec) -> Iterator[Diagnostic]:
        path = ("types", badge_type.code, "levels", level.level)
        if level.level < 1:
            yield Diagnostic(path, "levels count from 1: renumber them.")
        if level.image_url is not None:
            yield from _url((*path, "image_url"), level.image_url)
        yield from _locales(path, level.i18n)
        if level.auto_mint_onchain and not may_mint(badge_type, level):
            policy = level.onchain_policy or badge_type.default_onchain_policy
            why = (
                "the type is not is_onchain_capable"
                if not badge_type.is_onchain_capable
                else f"the policy is {policy} and the level {level.rarity}"
            )
            yield Diagnostic(
                (*path, "auto_mint_onchain"),
                f"level {level.level} can never be minted ({why}): drop it, or change the policy.",
            )

    def _conditions(
        self, badge_type: TypeSpec, level: LevelSpec, condition: Condition
    ) -> Iterator[Diagnostic]:
        path = ("types", badge_type.code, "levels", level.level, "conditions")
        for comparison in comparisons(condition):
            if comparison.name not in badge_type.counters:
                yield Diagnostic(
                    (*path, comparison.name),
                    f"{comparison.name} is no counter of this type{_known(badge_type.counters)}",
                )
        falling = sorted(
            counter.name
            for each in comparisons(condition)
            if (counter := self.counters.get(CounterName(each.name))) and can_fall(counter)
        )
        if not level.order_dependent and (falling or not is_monotone(condition)):
            why = f"{falling[0]} can fall" if falling else f"`{condition}` can stop to hold"
            yield Diagnostic(
                path,
                f"{why}, so level {level.level} depends on what is counted first: say "
                "`order_dependent: true` if that is meant.",
            )
        if holds(condition, {}):
            yield Diagnostic(
                path,
                f"level {level.level} holds for somebody who did nothing yet: demand at least one "
                "of something.",
            )

    def _reach(self, badge_type: TypeSpec, parsed: Mapping[int, Condition]) -> Iterator[Diagnostic]:
        """Levels that can never hold, and levels that are never the highest that holds."""
        numbers = sorted(parsed)
        impossible = {
            number for number in numbers if not reachable(parsed[number], (), self._is_integer)
        }
        for number in numbers:
            path = ("types", badge_type.code, "levels", number, "conditions")
            if number in impossible:
                yield Diagnostic(
                    path,
                    f"level {number} can never be reached: nothing makes `{parsed[number]}` true. "
                    "Drop or change a part of it.",
                )
                continue
            above = [other for other in numbers if other > number and other not in impossible]
            if above and not reachable(
                parsed[number], [parsed[other] for other in above], self._is_integer
            ):
                names = " or ".join(map(str, above))
                yield Diagnostic(
                    path,
                    f"nobody can ever stand at level {number}: whenever `{parsed[number]}`, level "
                    f"{names} holds too. Demand more there.",
                )

    def _is_integer(self, name: str) -> bool:
        counter = self.counters.get(CounterName(name))
        if counter is None or KINDS[counter.kind].is_integer:
            return True
        event = self.events.get(counter.event_type)
        spec = _field(event, counter.field or "") if event else None
        return spec is None or spec.kind is not FieldKind.NUMBER


def _event(event: EventSpec) -> Iterator[Diagnostic]:
    path = ("events", event.type)
    if event.type.startswith(RESERVED_EVENTS):
        yield Diagnostic(
            path, "wallet.*, badge.* and achievement.* are Laurel's own: choose another name."
        )
    elif not _EVENT.fullmatch(event.type) or len(event.type) > 128:
        yield Diagnostic(
            path,
            "an event type is lower-case words with dots between, like quest.completed, at most "
            "128 long: rename it.",
        )
    if event.topic in RESERVED_TOPICS:
        yield Diagnostic(
            (*path, "topic"), f"the topic {event.topic} is Laurel's own: choose another one."
        )
    elif not _TOPIC.fullmatch(event.topic):
        yield Diagnostic(
            (*path, "topic"),
            "a topic is lower-case letters, digits, `.`, `_` and `-`, at most 100: rename it.",
        )
    for field in event.fields:
        inner = (*path, "fields", field.name)
        if field.kind not in NUMERIC and not (field.minimum is None and field.maximum is None):
            yield Diagnostic(
                inner,
                f"minimum and maximum are for integer and number, not for {field.kind}: drop them.",
            )
        elif (
            field.minimum is not None
            and field.maximum is not None
            and field.minimum > field.maximum
        ):
            yield Diagnostic(
                inner,
                f"no number is at least {field.minimum} and at most {field.maximum}: swap them.",
            )
        elif any(abs(bound) > INTEGER_MAX for bound in (field.minimum or 0, field.maximum or 0)):
            yield Diagnostic(
                inner,
                f"a bound is at most {INTEGER_MAX} away from 0: no JSON reader agrees beyond.",
            )
        elif field.maximum is not None and field.minimum is None and field.maximum < 0:
            yield Diagnostic(
                inner,
                f"without a minimum a number is at least 0, and none is at most {field.maximum}: "
                "say the minimum.",
            )


def _filter(counter: CounterSpec, event: EventSpec) -> Iterator[Diagnostic]:
    path = ("counters", counter.name, "filter")
    try:
        condition = parse_filter(counter.filter)
    except RuleError as error:
        yield from (
            Diagnostic((*path, *diagnostic.path), f"{diagnostic.message}.")
            for diagnostic in error.diagnostics
        )
        return
    for comparison in comparisons(condition):
        spec = _field(event, comparison.name)
        if spec is None:
            continue  # undeclared fields are kept for filters
        values = comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)
        for value in values:
            if isinstance(value, bool) or isinstance(value, str) == (spec.kind in NUMERIC):
                yield Diagnostic(
                    (*path, comparison.name),
                    f"{comparison.name} is of kind {spec.kind} and never compares with {value!r}.",
                )


def _url(path: KeyPath, url: str) -> Iterator[Diagnostic]:
    if not _URL.fullmatch(url):
        yield Diagnostic(
            path, f"{url!r} is no address of an image: write https://... or ipfs://..."
        )


def _locales(path: KeyPath, i18n: Mapping[str, object]) -> Iterator[Diagnostic]:
    for locale in i18n:
        if not _LOCALE.fullmatch(locale):
            yield Diagnostic(
                (*path, "i18n", locale), f"{locale!r} is no language tag: write en, ru or pt-BR."
            )


def _field(event: EventSpec, name: str) -> FieldSpec | None:
    return next((field for field in event.fields if field.name == name), None)


def _never_negative(spec: FieldSpec) -> bool:
    # Integers start at 0 unless bounded otherwise; numbers have no bound of their own.
    return spec.kind is FieldKind.INTEGER if spec.minimum is None else spec.minimum >= 0


def _known(names: Iterable[str]) -> str:
    listed = sorted(names)
    return f": take one of {', '.join(listed)}." if listed else ": define one first."

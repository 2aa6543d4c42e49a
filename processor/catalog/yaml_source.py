"""Read a YAML file into plain values, and remember the line of each.

Stricter than YAML itself where YAML surprises: `no` is a word and not False, `0.1` is exact, a key
given twice is refused, dates stay strings. What is wrong is collected with its line, never raised:
a person wants to see all of it at once.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import yaml

from processor.rules.diagnostics import Diagnostic, KeyPath, SourceLocation

# Aliases of aliases can make a short file endless; the shipped catalog has about 600.
NODES_MAX = 100_000
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?[0-9]+")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?")


@dataclass(slots=True)
class Source:
    """One file: its value, the location of every path in it, and what is wrong with it as YAML."""

    value: object = None
    locations: dict[KeyPath, SourceLocation] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)


def read(file: Path) -> Source:
    """Read `file`; a file that cannot be read at all has the value None and a diagnostic."""
    source = Source()
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        return _spoiled(
            source,
            SourceLocation(str(file), line),
            "this is no UTF-8 text: save the file as UTF-8.",
        )
    except OSError as error:
        return _spoiled(
            source,
            SourceLocation(str(file), 1),
            f"cannot be read: {error.strerror}. Check its permissions.",
        )
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        location = SourceLocation(str(file), mark.line + 1 if mark else 1)
        return _spoiled(
            source,
            location,
            f"this is no YAML: {error.problem or error.context}. "
            "Correct or quote what stands here.",
        )
    except yaml.reader.ReaderError as error:
        location = SourceLocation(str(file), text.count("\n", 0, error.position) + 1)
        return _spoiled(
            source, location, f"a character that YAML does not allow: {error.reason}. Remove it."
        )
    if root is None:
        return _spoiled(
            source,
            SourceLocation(str(file), 1),
            "the file is empty: remove it, or write events, counters or types into it.",
        )
    _Walk(source, str(file)).into(root)
    return source


def _spoiled(source: Source, location: SourceLocation, message: str) -> Source:
    source.diagnostics.append(Diagnostic((), message, location))
    return source


class _Walk:
    """Turns nodes into values.

    `open` holds the nodes above the present one, so that an alias to one of them is noticed.
    """

    def __init__(self, source: Source, file: str) -> None:
        self.source = source
        self.file = file
        self.open: set[int] = set()
        self.nodes = 0

    def into(self, root: yaml.Node) -> None:
        self.source.value = self._value(root, ())

    def _value(self, node: yaml.Node, path: KeyPath) -> object:
        self.nodes += 1
        self.source.locations.setdefault(path, self._location(node))
        if id(node) in self.open:
            self._report(node, "an alias contains itself: write the part out.")
            return None
        if self.nodes > NODES_MAX:
            self._report(node, f"more than {NODES_MAX} values through aliases: write less of them.")
            return None
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [
                    self._value(item, (*path, position)) for position, item in enumerate(node.value)
                ]
            return self._scalar(node)
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[Hashable, object]:
        made: dict[Hashable, object] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                self._report(
                    key_node,
                    "a key must be a word or a whole number: put it in quotes if it is meant as a "
                    "word.",
                )
            elif key in made:
                first = self.source.locations[(*path, key)].line
                self._report(
                    key_node, f"`{key}` was given before, in line {first}: keep one of the two."
                )
            else:
                self.source.locations[(*path, key)] = self._location(key_node)
                made[key] = self._value(value_node, (*path, key))
            if self.nodes > NODES_MAX:
                break
        return made

    def _scalar(self, node: yaml.Node) -> object:
        text, kind = str(node.value), node.tag.removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "int" and _INTEGER.fullmatch(text):
            return int(text) if len(text) < 100 else Decimal(text)
        if kind == "float" and _DECIMAL.fullmatch(text):
            return Decimal(text)
        if kind not in ("str", "bool", "int", "float", "timestamp", "value", "merge"):
            self._report(node, f"the tag {node.tag} is not allowed here: remove it.")
            return None
        return text

    def _location(self, node: yaml.Node) -> SourceLocation:
        return SourceLocation(self.file, node.start_mark.line + 1)

    def _report(self, node: yaml.Node, message: str) -> None:
        self.source.diagnostics.append(Diagnostic((), message, self._location(node)))

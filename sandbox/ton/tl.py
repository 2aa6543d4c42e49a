"""TL.

The wire format of lite-server requests and answers, driven by the schemas that pytoniq-core ships.

An object is a dictionary with its constructor's name under "@type"; conditional fields are present
when their flag bit is set. `int` and `long` are read signed, `#` unsigned, all three are written
modulo their width; `int128`, `int256` and `bytes` are bytes.
"""

import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ops.errors import UsageError

TlObject = dict[str, Any]

_DEFINITION = re.compile(
    r"^(?P<name>\S+?)(?:#(?P<id>[0-9a-f]+))?(?P<fields>(?:\s+[^=]*)?)\s=\s(?P<result>.+)$"
)
_FIELD = re.compile(r"^(?P<name>\w+):(?:(?P<flags>\w+)\.(?P<bit>\d+)\?)?(?P<type>.+)$")
_FIXED = {"int": 4, "long": 8, "#": 4, "int128": 16, "int256": 32}
_BUILT_IN = frozenset(
    {"int", "long", "double", "string", "object", "function", "bytes", "vector", "int128", "int256"}
)
_VECTOR = "vector<"
# Later files win: lite_api.tl is the authority for what a lite server says.
_SCHEMA_FILES = ("ton_api.tl", "lite_api.tl")


class TlError(ValueError):
    """Bytes that no schema line describes, or a value that its field cannot hold."""


class Field(NamedTuple):
    """One field of a constructor; `flags` and `bit` say when it is there (None: always)."""

    name: str
    type: str
    flags: str | None
    bit: int

    def present(self, values: TlObject) -> bool:
        """Return whether the flags that were read or given before call for this field."""
        return self.flags is None or bool(values[self.flags] >> self.bit & 1)


class Constructor(NamedTuple):
    """One line of a schema."""

    name: str
    id: bytes
    fields: tuple[Field, ...]


class Schema:
    """Constructors by name and by id."""

    def __init__(self, definitions: str) -> None:
        self.by_name: dict[str, Constructor] = {}
        self.by_id: dict[bytes, Constructor] = {}
        for constructor in _constructors(definitions):
            self.by_name[constructor.name] = constructor
            self.by_id[constructor.id] = constructor

    def serialize(self, value: TlObject) -> bytes:
        """Return `value` boxed: its constructor's id, then its fields.

        Raises:
            TlError: an unknown constructor, or a value that does not fit.
        """
        out: list[bytes] = []
        self._write(value, "Object", out)
        return b"".join(out)

    def deserialize(self, data: bytes) -> TlObject:
        """Read one boxed object that fills `data` to its end.

        Raises:
            TlError: cut short, something left behind, or an unknown constructor.
        """
        value, rest = self.read(data)
        if rest:
            raise TlError(f"{len(rest)} bytes are left after {value['@type']}")
        return value

    def read(self, data: bytes) -> tuple[TlObject, bytes]:
        """Read one boxed object from the front of `data`; return it and what follows."""
        reader = _Reader(data)
        value = self._read_boxed(reader)
        return value, data[reader.position :]

    def _read_boxed(self, reader: "_Reader") -> TlObject:
        tag = reader.take(4)
        constructor = self.by_id.get(tag)
        if constructor is None:
            raise TlError(f"unknown constructor {tag[::-1].hex()}")
        return self._read_bare(reader, constructor)

    def _read_bare(self, reader: "_Reader", constructor: Constructor) -> TlObject:
        value: TlObject = {"@type": constructor.name}
        for field in constructor.fields:
            if field.present(value):
                value[field.name] = self._read(reader, field.type)
        return value

    def _read(self, reader: "_Reader", kind: str) -> Any:  # noqa: ANN401 - what a field holds is known to the schema, at run time
        match kind:
            case "int" | "long":
                return int.from_bytes(reader.take(_FIXED[kind]), "little", signed=True)
            case "#":
                return int.from_bytes(reader.take(4), "little")
            case "int128" | "int256":
                return reader.take(_FIXED[kind])
            case "bytes":
                return reader.bytes_()
            case "string":
                return reader.bytes_().decode("utf-8", "replace")
            case "true":
                return True
            case "Bool":
                return self._read_boxed(reader)["@type"] == "boolTrue"
        if kind.startswith(_VECTOR):
            count = int.from_bytes(reader.take(4), "little")
            if count > len(reader.data):
                raise TlError(f"a vector of {count} items in {len(reader.data)} bytes")
            return [self._read(reader, kind[len(_VECTOR) : -1]) for _ in range(count)]
        return (
            self._read_boxed(reader)
            if _is_boxed(kind)
            else self._read_bare(reader, self._named(kind))
        )

    def _write(self, value: Any, kind: str, out: list[bytes]) -> None:  # noqa: ANN401 - see _read
        match kind:
            case "int" | "long" | "#":
                size = _FIXED[kind]
                out.append((value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))
            case "int128" | "int256":
                if len(value) != _FIXED[kind]:
                    raise TlError(f"{kind} of {len(value)} bytes")
                out.append(value)
            case "bytes":
                out.append(_framed(value))
            case "string":
                out.append(_framed(value.encode()))
            case "Bool":
                out.append(self._named("boolTrue" if value else "boolFalse").id)
            case _ if kind.startswith(_VECTOR):
                out.append(len(value).to_bytes(4, "little"))
                for item in value:
                    self._write(item, kind[len(_VECTOR) : -1], out)
            case _:
                self._write_object(value, kind, out)

    def _write_object(self, value: TlObject, kind: str, out: list[bytes]) -> None:
        boxed = _is_boxed(kind)
        constructor = self._named(value["@type"] if boxed else kind)
        if boxed:
            out.append(constructor.id)
        for field in constructor.fields:
            if field.type != "true" and field.present(value):  # `true` is all in its flag
                self._write(value[field.name], field.type, out)

    def _named(self, name: str) -> Constructor:
        constructor = self.by_name.get(name)
        if constructor is None:
            raise TlError(f"unknown constructor {name}")
        return constructor


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise TlError("the data ends too early")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def bytes_(self) -> bytes:
        size, head = self.take(1)[0], 1
        if size == 254:
            size, head = int.from_bytes(self.take(3), "little"), 4
        elif size == 255:
            size, head = int.from_bytes(self.take(7), "little"), 8
        data = self.take(size)
        self.take(-(size + head) % 4)
        return data


def _framed(data: bytes) -> bytes:
    size = len(data)
    head = bytes([size]) if size < 254 else b"\xfe" + size.to_bytes(3, "little")
    return head + data + bytes(-(size + len(head)) % 4)


def _is_boxed(kind: str) -> bool:
    return kind.rsplit(".", 1)[-1][0].isupper()


def _constructors(text: str) -> Iterator[Constructor]:
    text = re.sub(r"//[^\n]*|---\w+---", "", text)
    for line in text.split(";"):
        definition = " ".join(line.split())
        match = _DEFINITION.match(definition)
        if match is None or match["name"] in _BUILT_IN:
            continue
        fields = _fields(match["fields"])
        if fields is not None:
            yield Constructor(match["name"], _constructor_id(definition, match["id"]), fields)


def _constructor_id(definition: str, explicit: str | None) -> bytes:
    """Return the four bytes that open the boxed form.

    The CRC32 of the line with its parentheses deleted (not turned into spaces).
    """
    if explicit is not None:
        return int(explicit, 16).to_bytes(4, "little")
    return zlib.crc32(" ".join(re.sub(r"[()]", "", definition).split()).encode()).to_bytes(
        4, "little"
    )


def _fields(text: str) -> tuple[Field, ...] | None:
    """Return the fields of a schema line.

    None for a line with type parameters, which nothing here speaks.
    """
    flat = re.sub(
        r"\(\s*vector\s+([^()]+?)\s*\)", lambda match: f"{_VECTOR}{match[1].strip()}>", text.strip()
    )
    fields = []
    for token in flat.split():
        match = _FIELD.match(token)
        if match is None:
            return None
        fields.append(Field(match["name"], match["type"], match["flags"], int(match["bit"] or 0)))
    return tuple(fields)


@lru_cache(maxsize=1)
def lite_api() -> Schema:
    """Return the schema of lite servers and their transport.

    Raises:
        UsageError: pytoniq-core is not installed.
    """
    package = find_spec("pytoniq_core")
    if package is None or package.origin is None:
        raise UsageError(
            "The local TON network needs pytoniq-core. "
            "Install Laurel with its extra: laurel[sandbox]."
        )
    directory = Path(package.origin).parent / "tl" / "schemas"
    return Schema(
        "\n".join((directory / name).read_text(encoding="utf-8") for name in _SCHEMA_FILES)
    )

"""Read and write the demo's file of Kafka messages, one a line.

A broken message travels as faithfully as a good one.

    {"phase": 1, "topic": "quests", "key": "…", "headers": [["ce_id", "…"]], "value": "…"}

`topic` lacks the prefix; `key`, `value` and each header's value are text where the bytes are UTF-8,
else {"base64": "…"}, else null. `phase` orders the sending: a phase is sent once the one before it
is counted (demo/events/generator.py says what belongs into which).
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ops.errors import UsageError

Header = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Record:
    """One message as it is sent; `topic` without prefix, `phase` from 1."""

    phase: int
    topic: str
    key: bytes | None
    headers: tuple[Header, ...]
    value: bytes | None


def write(path: Path, records: Iterable[Record]) -> None:
    """Write `records` to `path`, one a line; the same records make the same bytes."""
    with path.open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(to_line(record) + "\n" for record in records)


def read(path: Path) -> Iterator[Record]:
    """Yield the records of `path` in their order.

    Raises:
        UsageError: the file is missing, or a line is none of ours; the message names file and line.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                yield from_line(line, f"{path}:{number}")
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}. `laurel demo --directory` leaves such a file behind."
        ) from error


def to_line(record: Record) -> str:
    """Return `record` as one line of JSON, without the line's end."""
    return json.dumps(
        {
            "phase": record.phase,
            "topic": record.topic,
            "key": _shown(record.key),
            "headers": [[name, _shown(value)] for name, value in record.headers],
            "value": _shown(record.value),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def from_line(line: str, place: str) -> Record:
    """Return the record that `line` holds; `place` is for the message.

    Raises:
        UsageError: it holds none.
    """
    try:
        found = json.loads(line)
        return Record(
            phase=int(found["phase"]),
            topic=str(found["topic"]),
            key=_bytes(found["key"]),
            headers=tuple((str(name), _bytes(value) or b"") for name, value in found["headers"]),
            value=_bytes(found["value"]),
        )
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise UsageError(
            f"{place}: no record of the demo ({error}). Generate the file anew."
        ) from error


def _shown(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _bytes(value: object) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, dict):
        return base64.b64decode(value["base64"], validate=True)
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is neither text nor base64")
    return value.encode()

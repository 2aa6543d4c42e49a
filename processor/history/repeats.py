"""Which events of a file say again what an earlier line says, or something else under its id.

A file may hold more events than a memory has room for. What is needed of each (29 bytes) goes to
temporary files, parted by a byte of its key, and is compared part by part: each part is a small
share of all of them. A small file never touches a disk.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO

from processor.events.event import Event

# Key, fingerprint, line, and whether a counter listens.
_ENTRY = struct.Struct(">16siq?")
_PARTS = 256
# Of each part, before it goes to a disk.
_MEMORY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Repeat:
    """An event at `offset` under the id of an earlier one, at `first`; lines count from 0.

    `heard`: a counter listens to it. `conflicts`: it says something else than the first.
    """

    offset: int
    first: int
    heard: bool
    conflicts: bool


@contextmanager
def compared() -> Iterator["Repeats"]:
    """Give an empty comparison; leave no file behind."""
    with ExitStack() as files:
        yield Repeats(
            [files.enter_context(SpooledTemporaryFile(_MEMORY_BYTES)) for _ in range(_PARTS)]
        )


class Repeats:
    """Takes the events of a file in their order; `parts` are empty files, one a byte of the key."""

    def __init__(self, parts: Sequence[IO[bytes]]) -> None:
        self._parts = parts

    def take(self, events: Iterable[Event]) -> None:
        """Remember `events`.

        Raises:
            OSError: there is no room for them in the temporary directory.
        """
        for event in events:
            key = bytes.fromhex(event.key)
            # The last byte is of the hash also where the first ones are of the id's own time.
            self._parts[key[-1]].write(
                _ENTRY.pack(key, event.fingerprint, event.offset, event.heard)
            )

    def found(self) -> Iterator[list[Repeat]]:
        """Yield the events that are not the first with their id, part by part."""
        for part in self._parts:
            part.seek(0)
            first: dict[bytes, tuple[int, int]] = {}
            repeats: list[Repeat] = []
            for key, fingerprint, offset, heard in _ENTRY.iter_unpack(part.read()):
                known, place = first.setdefault(key, (fingerprint, offset))
                if place != offset:
                    repeats.append(Repeat(offset, place, heard, known != fingerprint))
            yield repeats

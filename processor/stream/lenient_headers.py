"""Parse records whose header names are not UTF-8: Kafka's other clients send any bytes.

aiokafka decodes the names strictly, and an error there ends the consumer: the record would stop
the reading of its partition for ever. Here such a batch is parsed once more, by aiokafka's own
parser in Python, with the bytes as surrogate escapes (PEP 383). The records beside it, and all
other batches, take the usual way. tests/processor/stream/test_lenient_headers.py holds what is
leant on.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

from processor.stream import expansion, large_batches, old_message_sets
from processor.stream.room import ROOM, Room, Unfinished

# Outside a worker, records are taken as they are.
_NO_BOUND = Room(2**62, 2**62)
# Of a batch (KIP-98); older message sets have no headers.
_MAGIC_WITH_HEADERS = 2


class _LenientBytes(bytes):
    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        return super().decode(encoding, "surrogateescape")


class _LenientBuffer(bytearray):
    """A buffer whose slices decode whatever they hold; aiokafka decodes header names alone."""

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - an index or a slice
        found = super().__getitem__(key)
        return found if isinstance(found, int) else _LenientBytes(found)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _LenientBuffer(self._buffer)


class _Batch:
    """A batch as aiokafka parses it, expanded within bounds; parsed again where it cannot."""

    def __init__(self, batch: Any, raw: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._batch, name)

    def checked(self) -> Iterator[Unfinished]:
        """Compare it with its checksum, step by step; raise CorruptRecordException."""
        return large_batches.checked(self._raw)

    def __iter__(self) -> Iterator[Any]:
        whole, size_max = expansion.expanded(self._raw), ROOM.get(_NO_BOUND).record_bytes_max
        if whole is None or large_batches.has_large(whole, size_max):
            yield from large_batches.records(self._raw, size_max)
            return
        batch = self._batch if whole is self._raw else DefaultRecordBatch(whole)
        done = 0
        try:
            for record in batch:
                yield record
                done += 1
        except (UnicodeDecodeError, CorruptRecordException):
            yield from islice(_LenientBatch(whole), done, None)


class _OldSet:
    """A compressed message set as aiokafka parses it, expanded message by message."""

    def __init__(self, batch: Any, raw: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        return old_message_sets.records(self._raw, ROOM.get(_NO_BOUND).record_bytes_max)


class LenientRecords(_MemoryRecordsPy):  # type: ignore[misc]
    """The batches of a fetch, none of which fails for a header's name."""

    def next_batch(self, *arguments: Any) -> Any:  # noqa: ANN401
        """Return the next batch; None after the last."""
        raw = self._next_slice
        batch = super().next_batch(*arguments)
        if batch is None or batch.is_control_batch:
            return batch
        if raw[self.MAGIC_OFFSET] < _MAGIC_WITH_HEADERS:
            return _OldSet(batch, raw) if old_message_sets.is_compressed(raw) else batch
        return _Batch(batch, raw)


def install() -> None:
    """Let every consumer of this process parse its fetches so; aiokafka has no seam for it."""
    fetcher.MemoryRecords = LenientRecords

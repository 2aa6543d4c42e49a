"""What a worker would say of a message, before it is sent: as far as the catalog alone says it.

Whether an id was used, and how a badge stands, only the worker knows.

Pure: the time that a message is held against is given.
"""

from datetime import datetime

from processor.batch.command_rules import refused_by_catalog
from processor.events.reader import BadgeCommand, EventReader, Parsed
from processor.events.records import Record, bounded
from processor.rules.levels import Rulebook


class Forecast:
    """Says of messages what a worker would.

    Args:
        reader: as the worker has it.
        record_bytes_max: beyond it a record is not read.
    """

    def __init__(self, reader: EventReader, record_bytes_max: int) -> None:
        self.catalog = reader.catalog
        self._reader = reader
        self._record_bytes_max = record_bytes_max
        self._rulebook = Rulebook.compile(reader.catalog)

    def of(self, record: Record, now: datetime, topic: str | None) -> Parsed:
        """Return what a worker makes of `record` at the time `now`.

        `topic` is the contract's name of the one that it comes by; None: that of its type.
        """
        parsed = self._reader.at(now, topic)(bounded(record, self._record_bytes_max))
        if isinstance(parsed, BadgeCommand):
            return refused_by_catalog(parsed, self._rulebook) or parsed
        return parsed

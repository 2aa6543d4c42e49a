"""An event as it is counted. Pure."""

from datetime import datetime
from uuid import UUID

import msgspec

from processor.rules.counters import Contribution


class Event(msgspec.Struct, frozen=True, gc=False):
    """A counted event, and the offset of its record.

    `key` (32 hex digits) and `fingerprint` are of processor/events/identity.py; `contributions` is
    empty where no filter lets it pass. `heard` is False where no counter listens to its type: then
    its id is taken all the same, and a later catalog may count it.
    """

    type: str
    offset: int
    key: str
    fingerprint: int
    user_id: UUID
    time: datetime
    source: str
    id: str
    tenant_id: UUID
    contributions: tuple[Contribution, ...]
    heard: bool = True

"""How much the consumer may take out of its fetches at a time."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Room:
    """What may still be taken, in bytes of memory; the last record may exceed it.

    `record_bytes_max`: of a larger record only what identifies it is kept.
    """

    left: int
    record_bytes_max: int


# Of the call in progress: aiokafka, through which it goes, knows nothing of it.
ROOM: ContextVar[Room] = ContextVar("ROOM")

"""How much the consumer may take out of its fetches at a time."""

from contextvars import ContextVar
from dataclasses import dataclass

# Between two places where a take may stop, and of a whole one.
STEP_BYTES = 1024 * 1024
TAKE_STEPS_BYTES = 16 * STEP_BYTES


@dataclass(slots=True)
class Room:
    """What may still be taken, in bytes of memory; the last record may exceed it.

    Args:
        left: so much.
        record_bytes_max: of a larger record only what identifies it is kept.
        steps_left: so many bytes may still be read without a record coming of it; apart, so that
            one that takes long leaves room for those of other partitions.
        is_left_unfinished: one that was begun goes on with the next call.
    """

    left: int
    record_bytes_max: int
    steps_left: int = TAKE_STEPS_BYTES
    is_left_unfinished: bool = False


@dataclass(frozen=True, slots=True)
class Unfinished:
    """In the place of a record: so many bytes were read, and the next record is not there yet.

    Whoever takes records may stop here, let the event loop run, and go on later.
    """

    size: int


# Of the call in progress: aiokafka, through which it goes, knows nothing of it.
ROOM: ContextVar[Room] = ContextVar("ROOM")

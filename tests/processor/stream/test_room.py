"""The room of a call is its own: another task has none of it."""

import asyncio

from processor.stream.room import ROOM, Room


async def test_the_room_is_that_of_the_task_that_set_it() -> None:
    ROOM.set(Room(10, 5))

    async def another() -> Room:
        ROOM.set(Room(20, 5))
        return ROOM.get()

    assert (await asyncio.create_task(another())).left == 20
    assert ROOM.get().left == 10

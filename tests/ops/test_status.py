"""The screen shows what answers, and says of the rest that it does not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from ops.checks import CheckState, fail, warn
from ops.errors import Transient, UsageError
from ops.settings import Settings
from ops.status import (
    EVERY,
    PATIENCE,
    Board,
    Look,
    Row,
    Section,
    StatusSource,
    document,
    lines,
)
from tests.builders.clock import FakeClock

WELL = Section("counting", (Row("lag", "0"), Row("paused", "none")), {"lag": 0})


def a_source(look: Look, *titles: str, needs: tuple[str, ...] = ()) -> StatusSource:
    @asynccontextmanager
    async def opened(_settings: Settings) -> AsyncIterator[Look]:
        yield look

    return StatusSource(titles or ("counting",), needs, opened)


async def well() -> Sequence[Section]:
    return [WELL]


async def silent() -> Sequence[Section]:
    await asyncio.Event().wait()
    return []


async def away() -> Sequence[Section]:
    raise Transient("PostgreSQL does not answer at db:5432")


async def seen(*sources: StatusSource) -> list[Section]:
    board = Board(sources, Settings())
    async with board.following():
        await board.filled(timedelta(milliseconds=200))
        return board.sections()


async def test_a_part_that_is_away_says_so_in_its_sections_and_the_others_are_shown() -> None:
    catalog, queue, counting = await seen(a_source(away, "catalog", "queue"), a_source(well))
    reason = (Row("unknown", fail("PostgreSQL does not answer at db:5432")),)
    assert (catalog, queue) == (Section("catalog", reason), Section("queue", reason))
    assert counting == WELL


async def test_a_part_that_hangs_says_so_and_the_others_are_shown() -> None:
    chain, counting = await seen(a_source(silent, "chain"), a_source(well))
    assert (chain.title, chain.state) == ("chain", CheckState.FAIL)
    assert chain.rows[0].text.startswith("no answer for ")
    assert counting == WELL


async def test_a_part_that_comes_back_is_shown_again() -> None:
    back = asyncio.Event()
    looks = iter([away, back.wait, well])

    async def look() -> Sequence[Section]:
        found = await next(looks)()
        return await well() if found is True else found  # type: ignore[return-value]

    clock = FakeClock()
    board = Board([a_source(look)], Settings(), clock)
    async with board.following():
        await board.filled()
        assert board.sections()[0].state is CheckState.FAIL
        back.set()
        while board.sections()[0].state is CheckState.FAIL:  # noqa: ASYNC110 - the clock stands
            await asyncio.sleep(0)
    assert board.sections() == [WELL]
    assert set(clock.slept) == {EVERY}


async def test_what_was_seen_long_ago_is_not_shown_as_if_it_were_now() -> None:
    looked = iter([well, silent])

    async def look() -> Sequence[Section]:
        return await next(looked)()

    clock = FakeClock()
    board = Board([a_source(look)], Settings(), clock)
    async with board.following():
        await board.filled()
        assert board.sections() == [WELL]
        clock.advance(PATIENCE)
        await asyncio.sleep(0)
        (section,) = board.sections()
    assert section.rows[0].text.startswith("no answer for ")


async def test_without_an_address_there_is_nothing_to_look_at() -> None:
    board = Board([a_source(well, needs=("database_url",))], Settings())
    with pytest.raises(UsageError, match="LAUREL_DATABASE_URL"):
        board.require()


def test_the_screen_marks_what_needs_a_look() -> None:
    sections = [
        WELL,
        Section("wallet", (Row("minting", fail("shut\nsince noon")), Row("balance", warn("low")))),
    ]
    assert list(lines(sections, FakeClock())) == [
        (CheckState.OK, "Laurel at 2026-11-23 08:00:00 UTC"),
        (CheckState.OK, "      counting  lag      0"),
        (CheckState.OK, "                paused   none"),
        (CheckState.FAIL, "fail  wallet    minting  shut"),
        (CheckState.FAIL, "                         since noon"),
        (CheckState.WARN, "warn            balance  low"),
    ]
    assert document(sections, FakeClock()) == {
        "at": "2026-11-23T08:00:00+00:00",
        "state": "fail",
        "sections": {
            "counting": {"state": "ok", "problems": [], "lag": 0},
            "wallet": {"state": "fail", "problems": ["shut\nsince noon", "low"]},
        },
    }

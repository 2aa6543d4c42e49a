"""A check says what it found or the way out, and none hinders the next."""

import asyncio
from datetime import timedelta

import pytest
from pydantic import SecretStr

from ops.checks import Check, CheckResult, CheckState, Lines, attempt, examine, exit_code, warn
from ops.errors import Permanent, UsageError
from ops.settings import Settings

OK, WARN, FAIL, SKIP = CheckState.OK, CheckState.WARN, CheckState.FAIL, CheckState.SKIP


async def fine(_settings: Settings) -> Lines:
    yield CheckResult.of("two", "as it should be")


async def refused(_settings: Settings) -> Lines:
    raise UsageError("There are no tables. Run `laurel db upgrade`.")
    yield


async def hanging(_settings: Settings) -> Lines:
    yield CheckResult.of("one", "it answers")
    await asyncio.Event().wait()


def one(look: "type[None] | object", *more: str) -> Check:
    return Check(("one", *more), (), look)  # type: ignore[arg-type]


TWO = Check(("two",), (), fine)


async def test_each_check_has_its_lines_in_its_order() -> None:
    assert await examine([one(refused), TWO], Settings()) == [
        CheckResult("one", FAIL, "There are no tables. Run `laurel db upgrade`."),
        CheckResult("two", OK, "as it should be"),
    ]


async def test_what_has_no_setting_is_skipped_and_named() -> None:
    check = Check(("network", "minting"), ("ton_config", "database_url"), fine)
    assert await examine([check], Settings(database_url=SecretStr("postgresql://db/laurel"))) == [
        CheckResult("network", SKIP, "LAUREL_TON_CONFIG is not set"),
        CheckResult("minting", SKIP, "LAUREL_TON_CONFIG is not set"),
    ]


async def test_a_check_that_hangs_fails_with_the_next_line_and_hides_no_other() -> None:
    hangs = one(hanging, "schema", "rights")
    assert await examine([hangs, TWO], Settings(), patience=timedelta(milliseconds=50)) == [
        CheckResult("one", OK, "it answers"),
        CheckResult("schema", FAIL, "no answer within 50ms"),
        CheckResult("rights", SKIP, "not looked at, for what fails above"),
        CheckResult("two", OK, "as it should be"),
    ]


async def test_checks_that_wait_for_each_other_show_that_they_run_side_by_side() -> None:
    here, there = asyncio.Event(), asyncio.Event()

    async def first(_settings: Settings) -> Lines:
        here.set()
        await there.wait()
        yield CheckResult.of("one", "met")

    async def second(_settings: Settings) -> Lines:
        there.set()
        await here.wait()
        yield CheckResult.of("two", "met")

    found = await examine([one(first), Check(("two",), (), second)], Settings())
    assert [each.state for each in found] == [OK, OK]


async def test_a_check_that_takes_no_cancellation_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ops.checks._GRACE_S", 0.01)
    released = asyncio.Event()

    async def stubborn(_settings: Settings) -> Lines:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        yield CheckResult.of("one", "at last")

    found = await examine([one(stubborn), TWO], Settings(), patience=timedelta(milliseconds=10))
    released.set()
    assert [(each.name, each.state) for each in found] == [("one", FAIL), ("two", OK)]


async def test_what_a_check_has_open_is_closed_when_it_is_given_up() -> None:
    closed = []

    async def opened(_settings: Settings) -> Lines:
        try:
            await asyncio.Event().wait()
            yield CheckResult.of("one", "never")
        finally:
            closed.append("connection")

    await examine([one(opened)], Settings(), patience=timedelta(milliseconds=10))
    assert closed == ["connection"]


async def test_an_error_that_nobody_thought_of_hinders_no_other_check() -> None:
    async def broken(_settings: Settings) -> Lines:
        raise ZeroDivisionError("so what")
        yield

    results = await examine([one(broken), TWO], Settings())
    assert results[0] == CheckResult("one", FAIL, "ZeroDivisionError: so what")
    assert results[1].state is OK


async def test_an_attempt_makes_a_line_of_whatever_its_question_meets() -> None:
    async def parked() -> str:
        raise Permanent("no")

    async def silent() -> str:
        await asyncio.Event().wait()
        return "never"

    async def partly() -> object:
        return warn("two of three")

    assert await attempt("one", parked()) == CheckResult("one", FAIL, "no")
    assert await attempt("one", partly()) == CheckResult("one", WARN, "two of three")  # type: ignore[arg-type]
    bound = timedelta(milliseconds=5)
    assert await attempt("one", silent(), bound) == CheckResult("one", FAIL, "no answer within 5ms")


@pytest.mark.parametrize(
    ("states", "code"),
    [([], 0), ([OK, SKIP], 0), ([OK, WARN], 1), ([WARN, FAIL], 2), ([FAIL, OK], 2)],
)
def test_the_exit_code_is_that_of_the_worst(states: list[CheckState], code: int) -> None:
    assert exit_code(states) == code

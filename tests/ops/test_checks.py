"""A check says what it found or the way out, and none hinders the next."""

import asyncio
from datetime import timedelta

from pydantic import SecretStr

from ops.checks import Check, CheckResult, CheckState, examine
from ops.errors import Permanent, UsageError
from ops.settings import Settings


async def fine(_settings: Settings) -> str:
    return "as it should be"


async def refused(_settings: Settings) -> str:
    raise UsageError("There are no tables. Run `laurel db upgrade`.")


async def hanging(_settings: Settings) -> str:
    await asyncio.Event().wait()
    return "never"


async def test_each_check_has_a_result_in_its_order() -> None:
    checks = [Check("one", (), refused), Check("two", (), fine)]
    assert await examine(checks, Settings()) == [
        CheckResult("one", CheckState.FAILED, "There are no tables. Run `laurel db upgrade`."),
        CheckResult("two", CheckState.OK, "as it should be"),
    ]


async def test_what_has_no_setting_is_skipped_and_named() -> None:
    check = Check("network", ("ton_config", "database_url"), fine)
    (result,) = await examine([check], Settings(database_url=SecretStr("postgresql://db/laurel")))
    assert result == CheckResult("network", CheckState.SKIPPED, "LAUREL_TON_CONFIG is not set")


async def test_a_check_that_hangs_fails() -> None:
    checks = [Check("one", (), hanging), Check("two", (), fine)]
    results = await examine(checks, Settings(), patience=timedelta(milliseconds=1))
    assert [each.state for each in results] == [CheckState.FAILED, CheckState.OK]


async def test_an_error_that_nobody_thought_of_hinders_no_other_check() -> None:
    async def broken(_settings: Settings) -> str:
        raise ZeroDivisionError("so what")

    results = await examine([Check("one", (), broken), Check("two", (), fine)], Settings())
    assert results[0] == CheckResult("one", CheckState.FAILED, "ZeroDivisionError: so what")
    assert results[1].state is CheckState.OK


async def test_every_kind_of_laurels_errors_is_a_result() -> None:
    async def parked(_settings: Settings) -> str:
        raise Permanent("no")

    (result,) = await examine([Check("one", (), parked)], Settings())
    assert (result.state, result.detail) == (CheckState.FAILED, "no")

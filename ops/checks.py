"""What must hold before Laurel can work, looked at one by one: the body of `laurel doctor`.

Each package lists its own checks in a `checks.py`; cli.py gathers them. A check only looks: it
writes nothing, waits for nobody, and an error of Laurel's own says the way out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from ops.errors import LaurelError
from ops.settings import Settings

# A part that has not answered by then is no good to a process either.
PATIENCE = timedelta(seconds=30)


class CheckState(StrEnum):
    """What became of a check."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    Args:
        name: a word or two, unique among all checks.
        needs: names of the settings without which there is nothing to look at.
        look: returns what was found, in a few words; raises LaurelError, with the way out.
    """

    name: str
    needs: tuple[str, ...]
    look: Callable[[Settings], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found; `detail` tells a person, and names the way out where it failed."""

    name: str
    state: CheckState
    detail: str


async def examine(
    checks: Iterable[Check], settings: Settings, patience: timedelta = PATIENCE
) -> list[CheckResult]:
    """Look at each of `checks` in turn; none hinders the next."""
    return [await _examine(check, settings, patience) for check in checks]


async def _examine(check: Check, settings: Settings, patience: timedelta) -> CheckResult:
    missing = [name for name in check.needs if getattr(settings, name) is None]
    if missing:
        names = ", ".join(f"LAUREL_{name.upper()}" for name in missing)
        return CheckResult(check.name, CheckState.SKIPPED, f"{names} is not set")
    try:
        async with asyncio.timeout(patience.total_seconds()):
            return CheckResult(check.name, CheckState.OK, await check.look(settings))
    except LaurelError as error:
        return CheckResult(check.name, CheckState.FAILED, error.message)
    except TimeoutError:
        bound = f"no answer within {patience.total_seconds():.0f} s"
        return CheckResult(check.name, CheckState.FAILED, bound)
    except Exception as error:  # noqa: BLE001 - whatever one check meets, the others are looked at
        return CheckResult(check.name, CheckState.FAILED, f"{type(error).__name__}: {error}")

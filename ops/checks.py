"""What must hold before Laurel can work, looked at side by side: the body of `laurel doctor`.

Each package lists its own checks in a `checks.py`; cli.py gathers them. A check only looks: it
changes nothing anywhere, and an error of Laurel's own says the way out. Each tells its lines as it
finds them, so that one part that hangs hides nothing of what was seen before, nor of the others.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from ops.errors import LaurelError
from ops.quantities import shown_duration
from ops.settings import Settings

# A part that has not answered by then is no good to a process either.
PATIENCE = timedelta(seconds=30)
# Of one question to a part that has answered another.
ANSWER_TIMEOUT = timedelta(seconds=10)
# What was given up closes its connections meanwhile; whoever hangs in that is left behind.
_GRACE_S = 2.0


class CheckState(StrEnum):
    """What became of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Remark:
    """What was found, where that is not all well; `detail` ends with the way out."""

    state: CheckState
    detail: str


def warn(detail: str) -> Remark:
    """Return that Laurel works, and that a person should look."""
    return Remark(CheckState.WARN, detail)


def fail(detail: str) -> Remark:
    """Return that something does not work."""
    return Remark(CheckState.FAIL, detail)


# Text alone says that all is well.
Said = str | Remark


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A line; `detail` tells a person, and names the way out where something is wrong."""

    name: str
    state: CheckState
    detail: str

    @classmethod
    def of(cls, name: str, said: Said) -> "CheckResult":
        """Return the line `name` with what was found."""
        if isinstance(said, Remark):
            return cls(name, said.state, said.detail)
        return cls(name, CheckState.OK, said)


Lines = AsyncGenerator[CheckResult, None]


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at.

    Args:
        lines: the names of the lines that there always are, in the order in which they are told; a
            check may tell others between them, one a broker or a collection.
        needs: names of the settings without which there is nothing to look at.
        look: tells the lines; what it raises becomes the next one of `lines`.
    """

    lines: tuple[str, ...]
    needs: tuple[str, ...]
    look: Callable[[Settings], Lines]


def exit_code(states: Iterable[CheckState]) -> int:
    """Return 2 where something fails, 1 where a person should look, else 0."""
    found = set(states)
    if CheckState.FAIL in found:
        return 2
    return 1 if CheckState.WARN in found else 0


async def attempt(
    name: str, question: Awaitable[Said], bound: timedelta = ANSWER_TIMEOUT
) -> CheckResult:
    """Return the line `name` with what `question` finds within `bound`; whatever it meets is one.

    For what is independent of the lines that follow.
    """
    try:
        async with asyncio.timeout(bound.total_seconds()):
            return CheckResult.of(name, await question)
    except Exception as error:  # noqa: BLE001 - whatever one line meets, the others are looked at
        return CheckResult.of(name, fail(_reason(error, bound)))


async def examine(
    checks: Iterable[Check], settings: Settings, patience: timedelta = PATIENCE
) -> list[CheckResult]:
    """Look at all `checks` side by side, for `patience` at most; return the lines, in their order.

    None hinders another: neither one that fails nor one that hangs, and be it in its end.
    """
    asked = [(check, list[CheckResult]()) for check in checks]
    looks = [asyncio.create_task(_look(check, settings, told)) for check, told in asked]
    if looks:
        await asyncio.wait(looks, timeout=patience.total_seconds())
    late = [look for look in looks if not look.done()]
    for look in late:
        look.cancel()
    if late:
        await asyncio.wait(late, timeout=_GRACE_S)
    return [
        line
        for (check, told), look in zip(asked, looks, strict=True)
        for line in [*told, *_missing(check, told, _trouble(look, patience))]
    ]


async def _look(check: Check, settings: Settings, told: list[CheckResult]) -> Remark | None:
    """Gather the lines in `told`; return what kept the check from the rest of them."""
    unset = [name for name in check.needs if getattr(settings, name) is None]
    if unset:
        names = " and ".join(f"LAUREL_{name.upper()}" for name in unset)
        verb = "is" if len(unset) == 1 else "are"
        return Remark(CheckState.SKIP, f"{names} {verb} not set")
    try:
        async with aclosing(check.look(settings)) as lines:
            async for line in lines:
                told.append(line)  # noqa: PERF401 - what was told before an error counts
    except Exception as error:  # noqa: BLE001 - whatever one check meets, the others are looked at
        return fail(_reason(error))
    return None


def _trouble(look: "asyncio.Task[Remark | None]", patience: timedelta) -> Remark | None:
    if look.done() and not look.cancelled():
        return look.result()
    return fail(f"no answer within {shown_duration(patience)}")


def _missing(
    check: Check, told: Sequence[CheckResult], trouble: Remark | None
) -> Iterable[CheckResult]:
    """Yield the lines that a check did not come to: the first with the reason."""
    known = {line.name for line in told}
    left = [name for name in check.lines if name not in known]
    if trouble is not None and left:
        first, *left = left
        yield CheckResult.of(first, trouble)
        if trouble.state is CheckState.SKIP:
            yield from (CheckResult.of(name, trouble) for name in left)
            return
    for name in left:
        yield CheckResult(name, CheckState.SKIP, "not looked at, for what fails above")


def _reason(error: Exception, bound: timedelta | None = None) -> str:
    match error:
        case LaurelError():
            return error.message
        case TimeoutError():
            return f"no answer within {shown_duration(bound)}" if bound else "no answer in time"
        case _:
            return f"{type(error).__name__}: {error}"

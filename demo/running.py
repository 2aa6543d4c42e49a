"""Assemble a run: directory, stack, view, and an end in order, also on Ctrl-C."""

import asyncio
import shlex
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from demo import wallets
from demo.chain import reading
from demo.events.options import Plan
from demo.oracle.catalog import read_badges
from demo.phases import write_phases
from demo.progress import View
from demo.result import Result
from demo.scenario import Scenario, System
from demo.stack import memory
from demo.stack.memory import Peak
from demo.stack.processes import Stack, stack
from demo.stack.publisher import publishing
from demo.stack.setup import prepare, start_services
from demo.stack.threads import to_its_end
from ops.errors import UsageError
from ops.lifecycle import Stop
from ops.setting_types import PREFIX
from ops.settings import Settings
from sandbox.directories import data_directory
from store.engine import Database

_SHIPPED_CATALOG = Path(__file__).parents[1] / "catalog"
EVENTS_NAME = "events.jsonl"
ENVIRONMENT_NAME = "environment"
BACKUP_NAME = "backup"
_ANYBODY = "0b9e2c1e-7a54-4f36-9a55-0d0c9b7a4a10"
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    In a directory of the user's (kept) or a throwaway one, on a real Kafka or on Tansu, and whether
    to stay up. `full`: the run ends with a restored database.
    """

    directory: Path | None = None
    real_kafka: bool = False
    stay: bool = False
    full: bool = False


@dataclass(frozen=True, slots=True)
class _Context:
    """Where a run has its files, who watches it, and how it is to run; `catalog` None: shipped."""

    place: Path
    view: View
    options: Options
    catalog: Path | None


async def demo(
    settings: Settings, plan: Plan, stop: Stop, options: Options, report: Callable[[Result], None]
) -> Result | None:
    """Run the demo; return its result, None where it was interrupted.

    Args:
        settings: say which catalog is in force; no address of theirs is used.
        plan: what to generate.
        stop: the request to end.
        options: how to run.
        report: called with the result while everything is still up.

    Raises:
        LaurelError: a part, a service or a command failed, so that there is no result.
    """
    with _place("demo", options.directory) as place, View() as view:
        async with AsyncExitStack() as opened:
            context = _Context(place, view, options, settings.catalog_dir)
            outcome = await _unless_stopped(stop, view, _demo(plan, context, opened))
            if outcome is None:
                return None
            result, running = outcome
            view.finish()
            report(result)
            if not result.holds and options.directory is None:
                view.say(
                    f"Again with `--seed {plan.seed} --directory DIR` and the same other options "
                    "keeps the logs."
                )
            if options.stay:
                view.say(_addresses(running, place))
                await stop.wait()
            return result


async def dev(settings: Settings, stop: Stop, options: Options) -> None:
    """Keep a stack up until it is to stop.

    Raises:
        LaurelError: a part, a service or a command failed.
    """
    with _place("dev", options.directory) as place, View() as view:
        context = _Context(place, view, options, settings.catalog_dir)
        await _unless_stopped(stop, view, _dev(context))


async def _demo(plan: Plan, context: _Context, opened: AsyncExitStack) -> tuple[Result, Stack]:
    place, view = context.place, context.view
    badges = read_badges(context.catalog or _SHIPPED_CATALOG)
    peak = await opened.enter_async_context(memory.watched())
    view.say(f"writing {plan.events} events of {plan.travellers} travellers, seed {plan.seed}")
    writing = asyncio.create_task(to_its_end(write_phases, plan, badges, place / EVENTS_NAME))
    opened.push_async_callback(_ended, writing)
    view.say("starting PostgreSQL, a broker, a TON network")
    running = await opened.enter_async_context(_stack(context))
    view.say("making tables, topics, catalog and a wallet; starting two workers and a minter")
    authority = await prepare(running)
    await start_services(running, workers=2)
    phases = await writing
    view.say("everything is ready")
    database = await opened.enter_async_context(Database(running.database_url))
    publisher = await opened.enter_async_context(
        publishing(running.broker.address, running.topic_prefix)
    )
    chain = await opened.enter_async_context(
        reading(running.ton.config, running.ton.config_path.parent)
    )
    backup_path = place / BACKUP_NAME if context.options.full else None
    scenario = Scenario(System(running, database, publisher, chain), badges, view, backup_path)
    await scenario.run(phases, plan.travellers, authority)
    return _result(scenario, view, peak), running


async def _dev(context: _Context) -> None:
    view = context.view
    view.say("starting PostgreSQL, a broker, a TON network")
    async with _stack(context) as running:
        view.say("making tables, topics, catalog and a wallet; starting a worker and a minter")
        await prepare(running)
        await start_services(running, workers=1)
        view.say(_addresses(running, context.place))
        while True:
            running.check()
            await asyncio.sleep(1)


def _stack(context: _Context) -> AbstractAsyncContextManager[Stack]:
    return stack(
        context.place,
        real_kafka=context.options.real_kafka,
        keep_data=context.options.directory is not None,
        catalog=context.catalog,
    )


async def _unless_stopped(
    stop: Stop, view: View, work: Coroutine[None, None, Value]
) -> Value | None:
    """Return what `work` returns; None where the stop came first and it was cancelled."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        view.say("stopping everything")
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return None
    return working.result()


async def _ended(work: "asyncio.Task[object]") -> None:
    """Return once `work` is over, whatever became of it."""
    work.cancel()
    await asyncio.wait({work})


@contextmanager
def _place(what: str, directory: Path | None) -> Iterator[Path]:
    with data_directory(what, directory, keep=directory is not None) as place:
        if any(place.iterdir()):
            raise UsageError(
                f"{place} is not empty, and `laurel {what}` starts from nothing. "
                "Name another directory."
            )
        yield place


def _result(scenario: Scenario, view: View, peak: Peak) -> Result:
    return Result(
        scenario.checks,
        scenario.differences,
        scenario.notes,
        view.elapsed_seconds,
        peak.bytes,
    )


def _addresses(running: Stack, place: Path) -> str:
    """Write a file for other shells, and return every address with a first thing to try."""
    path = place / ENVIRONMENT_NAME
    path.touch(mode=0o600)
    ours = {name: value for name, value in running.environment.items() if name.startswith(PREFIX)}
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(ours.items())]
    # `laurel` itself lies beside this Python; a shell that did not activate the environment would
    # not find it.
    exports.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n')
    path.write_text("".join(exports))
    services = "\n".join(
        f"  {name:<12} {service.url}  (/live /ready /metrics; {service.log_path})"
        for name, service in running.services.items()
    )
    return (
        f"up, until Ctrl-C:\n"
        f"  PostgreSQL   {running.database_url}\n"
        f"  Kafka        {running.broker.address}\n"
        f"  TON          {running.ton.config_path}  (faucet and clock: {running.ton.admin_url})\n"
        f"{services}\n\n"
        "In another shell:\n\n"
        f"  . {path}\n"
        f"  laurel send city.visited city_id=2950159 country=DE --user {_ANYBODY}\n"
        f"  laurel send partner.joined partner_id=p1 --times 6 --user {_ANYBODY}\n"
        f"  laurel send wallet.linked address={wallets.address(0)} --user {_ANYBODY}\n"
        f"  laurel explain {_ANYBODY}"
    )

"""`laurel config`, `laurel doctor` and `laurel status`.

The settings of this machine, what they lead to, and what is going on there.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ops.console import Console, json_option

if TYPE_CHECKING:
    from ops.checks import CheckResult
    from ops.status import Board, Section


@click.group()
def config() -> None:
    """Check the settings."""


@config.command()
@json_option
@click.pass_obj
def check(console: Console, *, as_json: bool) -> None:
    """Print every setting under its environment name, secrets redacted; exit 2 if one is wrong.

    What differs from its default is marked with a star. docs/settings.md says what each is for.

    Example: LAUREL_WORKER__BATCH_RECORDS_MAX=5000 laurel config check
    """
    from ops.settings import setting_fields, shown

    settings = console.settings
    values = {each.name: each.value(settings) for each in setting_fields()}
    changed = {
        each.name for each in setting_fields() if values[each.name] != each.field.get_default()
    }
    width = max(map(len, values))
    console.result(
        {name: shown(value) for name, value in values.items()},
        "\n".join(
            f"{'*' if name in changed else ' '} {name:<{width}}  {shown(value)}"
            for name, value in values.items()
        ),
        as_json=as_json,
    )


@click.command()
@json_option
@click.pass_obj
def doctor(console: Console, *, as_json: bool) -> None:
    """Look at everything that Laurel needs, and say what is missing and the way out.

    Settings, PostgreSQL, catalog, Kafka, wallet, TON and the tokens' metadata: a line each, ok,
    warn or fail. Nothing is changed anywhere. What has no setting is skipped. All is looked at side
    by side, so a part that hangs hides no other.

    Exits 0 where all is well, 1 where Laurel works and a person should look (warn), 2 where
    something does not work (fail).

    Example: LAUREL_DATABASE_URL=postgresql://laurel@db/laurel laurel doctor
    """

    async def main() -> int:
        from ops import logs
        from ops.checks import examine, exit_code

        settings = console.settings
        with logs.untold():
            results = await examine(console.load_checks(), settings)
        console.result(
            {each.name: {"state": each.state.value, "detail": each.detail} for each in results},
            "\n".join(_lines(results)),
            as_json=as_json,
        )
        return exit_code(each.state for each in results)

    console.run_once(main, may_leave_behind=True)


def _lines(results: "Sequence[CheckResult]") -> Iterator[str]:
    """Yield a line a result; a way out of several lines stays under its line."""
    width = max(len(each.name) for each in results)
    for each in results:
        first, *others = each.detail.splitlines() or [""]
        yield f"{each.state.value:<4}  {each.name:<{width}}  {first}".rstrip()
        yield from (f"{'':<{width + 8}}{line}" for line in others)


@click.command()
@click.option(
    "--watch",
    is_flag=True,
    help="Draw it anew every two seconds, until Ctrl-C; off a terminal, print one after another.",
)
@json_option
@click.pass_obj
def status(console: Console, *, watch: bool, as_json: bool) -> None:
    """Show what Laurel does now, on one screen.

    Counting and its lag, the catalog and its job, the mint queue, the outbox, the chain and the
    wallet: asked of PostgreSQL, Kafka and the lite servers themselves, so it needs no running
    process of Laurel's. Nothing is changed. A part that does not answer says so in its place. When
    reconcile ran last is in no table: the minters' metrics tell.

    Exits as `laurel doctor` does: 0 all is well, 1 a person should look (warn), 2 something does
    not work (fail).

    Example: laurel status --watch
    """

    async def main() -> int:
        from ops import logs
        from ops.checks import exit_code
        from ops.status import Board, document

        settings = console.settings
        board = Board(console.load_sources(), settings)
        board.require()
        with logs.untold():
            async with board.following():
                await board.filled()
                if watch:
                    await _redrawn(console, board, as_json=as_json)
                sections = board.sections()
        console.result(document(sections), _text(sections), as_json=as_json)
        return exit_code(each.state for each in sections)

    console.run_once(main, watched=not watch, may_leave_behind=True)


def _text(sections: "Sequence[Section]") -> str:
    from ops.status import lines

    return "\n".join(line for _, line in lines(sections))


async def _redrawn(console: Console, board: "Board", *, as_json: bool) -> None:
    """Show the board anew every two seconds, for as long as somebody looks."""
    from contextlib import nullcontext

    from rich.console import Console as Terminal
    from rich.live import Live

    from ops.clock import SYSTEM_CLOCK
    from ops.screen import can_be_redrawn, drawn
    from ops.status import EVERY, document

    terminal = Terminal()
    on_screen = can_be_redrawn(terminal) and not as_json
    screen = Live(console=terminal, screen=True, auto_refresh=False) if on_screen else None
    with screen or nullcontext():
        while True:
            sections = board.sections()
            if screen is not None:
                screen.update(drawn(sections, terminal), refresh=True)
            else:
                console.result(document(sections), f"{_text(sections)}\n", as_json=as_json)
            await SYSTEM_CLOCK.sleep(EVERY)

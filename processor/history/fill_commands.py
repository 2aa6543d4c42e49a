"""`laurel history fill|list`."""

from typing import TYPE_CHECKING

import click

from ops.console import Console, json_option
from ops.errors import UsageError

if TYPE_CHECKING:
    from ops.lifecycle import Stop
    from processor.history.fill_closing import ClosingOptions
    from store.engine import Database
    from store.fills import Fill


@click.group()
def history() -> None:
    """Give a new counter its past, and list what was begun."""


@history.command("fill")
@click.option("--counter", "name", metavar="NAME", required=True, help="The counter.")
@click.option("--close", is_flag=True, help="Give users what was taken; that is for good.")
@click.option("--undo", is_flag=True, help="Drop what was taken, before it is closed.")
@click.option("--silent", is_flag=True, help="With --close: send no messages about what it gives.")
@click.option("--no-mint", is_flag=True, help="With --close: mint none of it by itself.")
@click.option(
    "--strict", is_flag=True, help="Take nothing of sources with a record that the stream refuses."
)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@json_option
@click.pass_obj
def history_fill(
    console: Console,
    /,
    name: str,
    sources: tuple[str, ...],
    *,
    close: bool,
    undo: bool,
    silent: bool,
    no_mint: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Give the counter NAME, which came later than others, what came before it.

    Of each SOURCE (a file of events, a directory, a pattern, - for standard input) those events are
    taken that were counted before the catalog had NAME; each once, however sources overlap, and
    beside running workers. Nobody sees them: what users would be given is said, also without a
    SOURCE, and then --close gives it, or --undo drops it. Events that nobody has counted yet are
    left to `laurel backfill`. An interrupted command goes on when it is given again. A fill that is
    closed cannot be opened again.

    Example: laurel history fill --counter cities_this_year events-2025.jsonl.gz
    """
    _refuse_together(sources, close=close, undo=undo, strict=strict)
    if (silent or no_mint) and not close:
        raise UsageError("--silent and --no-mint say how a fill is closed: they go with --close.")

    async def main(stop: "Stop") -> int:
        from processor.history.fill_closing import ClosingOptions
        from store import migrations
        from store.engine import Database

        settings = console.settings
        async with Database(settings.need("database_url"), settings.database) as database:
            async with database.transaction() as conn:
                await migrations.check(conn)
            if undo:
                return await _undo(console, database, name, as_json=as_json)
            if close:
                options = ClosingOptions(silent, no_mint)
                return await _close(console, database, name, options, as_json=as_json)
            return await _take(console, database, name, sources, stop, strict, as_json=as_json)

    console.run(main)


@history.command("list")
@json_option
@click.pass_obj
def history_list(console: Console, *, as_json: bool) -> None:
    """List what was begun with history: fills of counters, and loads of sources.

    How far each is, and what fills that are closed have given.

    Example: laurel history list
    """

    async def main() -> int:
        from processor.history import fill_report
        from store import fills, history_jobs, migrations
        from store.engine import Database

        settings = console.settings
        async with (
            Database(settings.need("database_url"), settings.database) as database,
            database.reading() as conn,
        ):
            await migrations.check(conn)
            found = await fills.every(conn)
            jobs = await history_jobs.every(conn)
        text = fill_report.list_text(found, jobs)
        console.result(fill_report.list_document(found, jobs), text, as_json=as_json)
        return 0

    console.run_once(main)


def _refuse_together(sources: tuple[str, ...], *, close: bool, undo: bool, strict: bool) -> None:
    if close and undo:
        raise UsageError("--close and --undo are opposites: take one.")
    if sources and (close or undo):
        raise UsageError(
            "With --close or --undo no SOURCE is taken: give sources first, look at what they "
            "would give, then close."
        )
    if strict and not sources:
        raise UsageError("--strict says how a SOURCE is taken: give one.")


async def _take(
    console: Console,
    database: "Database",
    name: str,
    sources: tuple[str, ...],
    stop: "Stop",
    strict: bool,
    *,
    as_json: bool,
) -> int:
    from ops.lifecycle import EXIT_INTERRUPTED, EXIT_OK
    from processor.history import fill_report
    from processor.history.fill_run import FillLines, FillRun

    run = FillRun(console.settings, database, stop, FillLines(console.say))
    report = await (run.take(name, sources, strict=strict) if sources else run.standing(name))
    console.result(fill_report.document(report), fill_report.text(report), as_json=as_json)
    return EXIT_OK if report.finished else EXIT_INTERRUPTED


async def _undo(console: Console, database: "Database", name: str, *, as_json: bool) -> int:
    from processor.history import fill, fill_report

    gone = await fill.undo(database, name)
    document = fill_report.fill_document(gone) | {"state": "undone"}
    text = f"The fill of {name} is undone: {gone.events} events that it had taken are dropped."
    console.result(document, text, as_json=as_json)
    return 0


async def _close(
    console: Console,
    database: "Database",
    name: str,
    options: "ClosingOptions",
    *,
    as_json: bool,
) -> int:
    from processor.history import fill, fill_report
    from processor.history.fill_closing import FillCloser

    async with database.transaction() as conn:
        counter = await fill.known(conn, name)

    def report(done: "Fill") -> None:
        console.say(f"{done.users} users, badges awarded {done.awarded}, raised {done.raised}")

    closer = FillCloser(database, counter, console.settings.tenant_id)
    done = await closer.close(options, report)
    console.result(fill_report.fill_document(done), fill_report.closed_text(done), as_json=as_json)
    return 0

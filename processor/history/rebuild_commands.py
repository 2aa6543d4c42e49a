"""`laurel rebuild`."""

from typing import TYPE_CHECKING

import click

from ops.console import Console, json_option
from ops.errors import UsageError

if TYPE_CHECKING:
    from ops.lifecycle import Stop


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--type", "type_code", help="Only counters of this type, as all types show them.")
@click.option("--open", "deed", flag_value="open", help="Open a rebuild, and fill nothing yet.")
@click.option("--swap", "deed", flag_value="swap", help="Put what was computed anew in force.")
@click.option("--undo", "deed", flag_value="undo", help="Take the swap back, with all since.")
@click.option(
    "--finish", "deed", flag_value="finish", help="Keep what is in force, and end the rebuild."
)
@click.option("--status", "deed", flag_value="status", help="Say where it stands.")
@click.option(
    "--accept-missing",
    type=click.IntRange(min=0),
    default=0,
    help="Swap without so many counted events that no source has brought.",
)
@click.option("--silent", is_flag=True, help="Send no messages about the badges that it gives.")
@click.option("--no-mint", is_flag=True, help="Mint none of them by itself.")
@json_option
@click.pass_obj
def rebuild(
    console: Console,
    /,
    sources: tuple[str, ...],
    *,
    type_code: str | None,
    deed: str | None,
    accept_missing: int,
    silent: bool,
    no_mint: bool,
    as_json: bool,
) -> None:
    """Compute counters anew from history, beside the live system.

    Opens a rebuild unless one is open, fills in what SOURCEs hold (files of CloudEvents, packed or
    not, Parquet, directories, patterns), and shows what differs from the counters in force; without
    a SOURCE it shows that again. Workers go on, and count both. Sources may overlap and come one
    after the other; interrupted, the same command goes on. Exit 1 where something differs.

    --swap puts what was computed anew in force in a short transaction, and gives the levels that
    follow; a level once reached stays. What was in force counts on, so that --undo is exact.

    Example: laurel rebuild /backup/events-2025/
    """
    if sources and deed is not None:
        raise UsageError(f"--{deed} takes no SOURCE: fill in sources first, then do that.")
    if accept_missing and deed != "swap":
        raise UsageError("--accept-missing belongs to --swap.")
    if (silent or no_mint) and deed not in ("swap", "undo"):
        raise UsageError("--silent and --no-mint belong to --swap and --undo.")
    if type_code is not None and not sources and deed != "open":
        raise UsageError("--type says what a rebuild is about where it is opened.")

    async def main(stop: "Stop") -> int:
        from ops.lifecycle import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK
        from processor.history import rebuild_run
        from processor.history.rebuild import ExchangeOptions
        from store.values.names import TypeCode

        chosen = None if type_code is None else TypeCode(type_code)
        if deed is None:
            lines = rebuild_run.RebuildLines(console.say)
            report = await rebuild_run.fill_and_compare(
                console.settings, sources, chosen, stop, lines
            )
        else:
            options = ExchangeOptions(accept_missing, silent, no_mint)
            wanted = rebuild_run.Deed(deed)
            report = await rebuild_run.do(console.settings, wanted, chosen, options)
        console.result(report.document, report.text, as_json=as_json)
        if report.is_interrupted:
            return EXIT_INTERRUPTED
        return EXIT_FAILURE if report.differs else EXIT_OK

    console.run(main)

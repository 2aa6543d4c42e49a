"""`laurel backfill`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.console import Console, json_option

if TYPE_CHECKING:
    from ops.lifecycle import Stop
    from processor.history.backfill import BackfillReport


# The options are named as the fields of BackfillOptions.
@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Read and check every line; write nothing.")
@click.option(
    "--dead-letter", is_flag=True, help="Count a file with broken lines; those become dead letters."
)
@click.option(
    "--publish",
    is_flag=True,
    help="Publish messages about new badges (outbox); by default history publishes none.",
)
@click.option(
    "--mint",
    is_flag=True,
    help="Mint badges by themselves where their policy says so; not by default.",
)
@json_option
@click.pass_obj
def backfill(console: Console, /, file: Path, *, as_json: bool, **options: bool) -> None:
    """Count the events of a file, as if they had come by Kafka.

    FILE holds one CloudEvent in JSON a line, perhaps packed by gzip; - is standard input. An event
    that was counted before, from Kafka or a file, is not counted again; an interrupted run goes on
    where it stopped. A file with broken lines is refused as a whole, unless they may become dead
    letters; a dry run ends with the exit code that the run would end with. What a pipe brings is
    copied to a temporary file first (TMPDIR says where). What history leaves unsaid and unminted
    follows once Kafka brings one of the same events.

    Example: laurel backfill --dry-run events-2025.jsonl
    """
    path = file if str(file) == "-" else file.absolute()
    console.role = "backfill"

    async def main(stop: "Stop") -> int:
        from ops.lifecycle import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
        from processor.history.backfill import BackfillOptions, ProgressLines, backfill

        chosen = BackfillOptions(**options)
        report = await backfill(console.settings, path, chosen, stop, ProgressLines(console.say))
        text = _text(report, dry_run=chosen.dry_run)
        console.result(_document(report, dry_run=chosen.dry_run), text, as_json=as_json)
        if not report.finished:
            return EXIT_INTERRUPTED
        is_refused = chosen.dry_run and report.broken > 0 and not chosen.dead_letter
        return EXIT_USAGE if is_refused else EXIT_OK

    console.run(main)


def _document(report: "BackfillReport", *, dry_run: bool) -> dict[str, object]:
    return {
        "path": report.path,
        "resumed_at": report.resumed_at,
        "lines": report.lines,
        "counted": report.counted,
        "duplicates": report.duplicates,
        "levels": report.levels,
        "broken": report.broken,
        "reasons": dict(report.reasons),
        "finished": report.finished,
        "dry_run": dry_run,
        "seconds": round(report.seconds, 3),
    }


def _text(report: "BackfillReport", *, dry_run: bool) -> str:
    verb = "would count" if dry_run else "counted"
    lines = [
        f"{report.path}: {report.lines} lines in {report.seconds:.1f} s"
        + (f", from line {report.resumed_at + 1}" if report.resumed_at else ""),
        f"  {verb:<12} {report.counted}",
        f"  {'duplicates':<12} {report.duplicates}",
        f"  {'levels':<12} {report.levels}",
        f"  {'broken':<12} {report.broken}",
        *(f"    {example}" for example in report.examples),
    ]
    if not report.finished:
        lines.append("Interrupted; the same command goes on from here.")
    return "\n".join(lines)

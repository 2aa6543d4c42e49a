"""`laurel worker`, `topics`, `backfill` and `badge`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click

from ops.console import Console, json_option

if TYPE_CHECKING:
    from ops.lifecycle import Stop
    from processor.history.backfill import Report

Command = TypeVar("Command", bound=Callable[..., Any])


@click.command()
@click.pass_obj
def worker(console: Console) -> None:
    """Count events from Kafka and give out badges.

    Runs until SIGTERM or Ctrl-C. Several workers share the partitions. Needs LAUREL_DATABASE_URL
    and LAUREL_KAFKA_BROKERS.

    Example: laurel worker
    """
    from processor.stream import worker

    settings = console.settings
    console.run(lambda stop: worker.run(settings, stop))


@click.group()
def topics() -> None:
    """Prepare Kafka's topics."""


@topics.command()
@click.option("--dry-run", is_flag=True, help="Say which topics are missing, and make none.")
@json_option
@click.pass_obj
def create(console: Console, *, dry_run: bool, as_json: bool) -> None:
    """Make the topics that are missing; those that exist stay as they are.

    The catalog names the topics of events: the one in force, or where there is none yet, the one of
    LAUREL_CATALOG_DIR.

    Example: LAUREL_KAFKA__PARTITIONS=12 laurel topics create
    """
    import asyncio

    from processor.stream import topics as kafka_topics

    made, kept = asyncio.run(kafka_topics.prepare(console.settings, dry_run=dry_run))
    lines = [f"{'missing' if dry_run else 'made   '}  {name}" for name in made] + [
        f"there    {name}" for name in kept
    ]
    console.result(
        {"made": [] if dry_run else made, "missing": made if dry_run else [], "there": kept},
        "\n".join(lines),
        as_json=as_json,
    )


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Read and check every line; write nothing.")
@click.option(
    "--put-aside", is_flag=True, help="Count a file with broken lines; those become dead letters."
)
@click.option(
    "--announce",
    is_flag=True,
    help="Tell others about new badges (outbox); history is silent by default.",
)
@click.option(
    "--mint",
    is_flag=True,
    help="Mint badges by themselves where their policy says so; not by default.",
)
@json_option
@click.pass_obj
def backfill(
    console: Console,
    file: Path,
    *,
    dry_run: bool,
    put_aside: bool,
    announce: bool,
    mint: bool,
    as_json: bool,
) -> None:
    """Count the events of a file, as if they had come by Kafka.

    FILE holds one CloudEvent in JSON a line. An event that was counted before, from Kafka or a
    file, is not counted again; an interrupted run goes on where it stopped. A file with broken
    lines is refused as a whole, unless they are to be put aside.

    Example: laurel backfill --dry-run events-2025.jsonl
    """
    from processor.history import backfill

    path = file.absolute()
    wishes = backfill.Wishes(announce=announce, mint=mint, put_aside=put_aside, dry_run=dry_run)

    async def run(stop: "Stop") -> int:
        report = await backfill.backfill(console.settings, path, wishes, stop, console.say)
        document = {
            "path": str(report.path),
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
        console.result(document, _backfill_text(report, dry_run=dry_run), as_json=as_json)
        return 0 if report.finished else 130

    console.run(run)


def _backfill_text(report: "Report", *, dry_run: bool) -> str:
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


@click.group()
def badge() -> None:
    """Mint, burn or revoke one badge."""


def _badge_options(command: Command) -> Command:
    """Add what names a badge, and the id under which the command is applied once."""
    command = click.option(
        "--external-id",
        help="Apply under this id: the same again changes nothing. By default a new one.",
    )(command)
    command = click.argument("type_code", metavar="TYPE")(command)
    return click.argument("user_id", metavar="USER", type=click.UUID)(command)


@badge.command("mint")
@_badge_options
@json_option
@click.pass_obj
def badge_mint(
    console: Console, user_id: UUID, type_code: str, external_id: str | None, *, as_json: bool
) -> None:
    """Ask for the token of USER's badge of TYPE.

    Example: laurel badge mint 2b4e... rf_reviewer
    """
    _apply(console, "badge.mint", user_id, type_code, external_id, None, as_json=as_json)


@badge.command("burn")
@_badge_options
@json_option
@click.pass_obj
def badge_burn(
    console: Console, user_id: UUID, type_code: str, external_id: str | None, *, as_json: bool
) -> None:
    """Burn the token of USER's badge of TYPE; the badge leaves the system once the chain confirms.

    Example: laurel badge burn 2b4e... explorer
    """
    _apply(console, "badge.burn", user_id, type_code, external_id, None, as_json=as_json)


@badge.command("revoke")
@_badge_options
@click.option("--reason", required=True, help="Why; it stands in the audit log, so name no person.")
@json_option
@click.pass_obj
def badge_revoke(
    console: Console,
    user_id: UUID,
    type_code: str,
    external_id: str | None,
    reason: str,
    *,
    as_json: bool,
) -> None:
    """Revoke USER's badge of TYPE at once; its token, if there is one, is burned.

    Example: laurel badge revoke 2b4e... explorer --reason "bought accounts"
    """
    _apply(console, "badge.revoke", user_id, type_code, external_id, reason, as_json=as_json)


def _apply(  # one call for three commands: what differs is their words
    console: Console,
    kind: str,
    user_id: UUID,
    type_code: str,
    external_id: str | None,
    reason: str | None,
    *,
    as_json: bool,
) -> None:
    import asyncio

    from processor.batch.admin import apply

    document = asyncio.run(apply(console.settings, kind, user_id, type_code, external_id, reason))
    console.result(document, f"{kind}: done, as {document['external_id']}", as_json=as_json)

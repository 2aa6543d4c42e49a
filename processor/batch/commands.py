"""`laurel badge`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ops.console import Console, json_option

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def badge() -> None:
    """Award, mint, burn or revoke one badge; announce silent ones."""


def _badge_options(command: Command) -> Command:
    """Add what names a badge, and the id under which the command is applied once.

    Arguments and options are named as the fields of processor.batch.admin.BadgeRequest.
    """
    command = click.option(
        "--external-id",
        help="Apply under this id: the same again changes nothing. By default a new one.",
    )(command)
    command = click.argument("type_code", metavar="TYPE")(command)
    return click.argument("user_id", metavar="USER", type=click.UUID)(command)


@badge.command("award")
@_badge_options
@click.option(
    "--level",
    type=click.IntRange(1, 2**31 - 1),
    help="By default the level that USER's counters reach, and at least the lowest.",
)
@click.option("--reason", help="Why; it stands in the audit log, so name no person.")
@json_option
@click.pass_obj
def badge_award(console: Console, /, *, as_json: bool, **request: Any) -> None:
    """Give USER the badge of TYPE, raise it, or give another after it was revoked or burned.

    A badge at that level or above stays as it is.

    Example: laurel badge award 2b4e... explorer --level 3 --reason "won the city contest"
    """
    _apply(console, "badge.award", request, as_json=as_json)


@badge.command("mint")
@_badge_options
@json_option
@click.pass_obj
def badge_mint(console: Console, /, *, as_json: bool, **request: Any) -> None:
    """Ask for the token of USER's badge of TYPE.

    Example: laurel badge mint 2b4e... rf_reviewer
    """
    _apply(console, "badge.mint", request, as_json=as_json)


@badge.command("burn")
@_badge_options
@json_option
@click.pass_obj
def badge_burn(console: Console, /, *, as_json: bool, **request: Any) -> None:
    """Burn the token of USER's badge of TYPE; the badge leaves the system once the chain confirms.

    Example: laurel badge burn 2b4e... explorer
    """
    _apply(console, "badge.burn", request, as_json=as_json)


@badge.command("revoke")
@_badge_options
@click.option("--reason", required=True, help="Why; it stands in the audit log, so name no person.")
@json_option
@click.pass_obj
def badge_revoke(console: Console, /, *, as_json: bool, **request: Any) -> None:
    """Revoke USER's badge of TYPE at once; its token, if there is one, is burned.

    Example: laurel badge revoke 2b4e... explorer --reason "bought accounts"
    """
    _apply(console, "badge.revoke", request, as_json=as_json)


@badge.command("announce")
@click.option("--type", "type_code", metavar="TYPE", help="Badges of this type alone.")
@click.option("--user", "user_id", type=click.UUID, help="Badges of this user alone.")
@click.option("--dry-run", is_flag=True, help="Count them; change nothing.")
@json_option
@click.pass_obj
def badge_announce(console: Console, /, *, as_json: bool, dry_run: bool, **choice: Any) -> None:
    """Send the messages, and ask for the mints, that silent backfills and catalogs left out.

    One message a badge, with the level of now; nothing is said twice, and an interrupted run may be
    run again. Of a badge that was revoked or burned meanwhile nothing is said.

    Example: laurel badge announce --type explorer --dry-run
    """

    async def main() -> int:
        from ops.lifecycle import EXIT_OK
        from processor.batch import announce
        from store import migrations
        from store.engine import Database
        from store.silenced_badges import Choice

        settings, chosen = console.settings, Choice(**choice)
        async with Database(settings.need("database_url"), settings.database) as database:
            async with database.transaction() as conn:
                await migrations.check(conn)
            act = announce.counted if dry_run else announce.announce
            done = await act(database, chosen)
        console.result(done.document, done.text(dry_run=dry_run), as_json=as_json)
        return EXIT_OK

    console.run_once(main)


def _apply(console: Console, kind: str, request: dict[str, Any], *, as_json: bool) -> None:
    async def main() -> int:
        from ops.lifecycle import EXIT_OK
        from processor.batch.admin import BadgeRequest, apply

        document = await apply(console.settings, BadgeRequest(kind, **request))
        text = f"{kind}: done, as {document['external_id']}"
        console.result(document, text + _standing(document["badge"]), as_json=as_json)
        return EXIT_OK

    console.run_once(main)


def _standing(badge: object) -> str:
    """Return where the badge stands, for a person: an accepted mint may wait, or be over."""
    if not isinstance(badge, dict):
        return ""
    said = f"\nThe badge is {badge['status']}, {badge['onchain_status']}"
    if badge["task"] is not None:
        said += f"; its {badge['task']} is {badge['task_status']}"
    return said + (f", held: {badge['hold']}" if badge["hold"] else "")

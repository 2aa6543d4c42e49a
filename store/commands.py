"""`laurel db`: what an operator does to the database itself."""

from typing import TYPE_CHECKING

import click

from ops.console import Console, json_option
from ops.errors import UsageError

if TYPE_CHECKING:
    from datetime import timedelta


@click.group()
def db() -> None:
    """Prepare the database."""


@db.command()
@json_option
@click.pass_obj
def upgrade(console: Console, *, as_json: bool) -> None:
    """Make the tables, or bring them to what this Laurel needs. Running it again changes nothing.

    Example: LAUREL_DATABASE_URL=postgresql://laurel:secret@db:5432/laurel laurel db upgrade
    """

    async def main() -> int:
        from store import migrations

        revision = await migrations.upgrade(console.settings.need("database_url"))
        console.result(
            {"revision": revision}, f"The database is at revision {revision}.", as_json=as_json
        )
        return 0

    # Rewriting a large table is one statement.
    console.run_once(main, watched=False)


@db.command("prune-events")
@click.option(
    "--older-than",
    metavar="DURATION",
    help="Such as 400d; by default LAUREL_WORKER__EVENT_RETENTION.",
)
@click.option("--dry-run", is_flag=True, help="Count them; change nothing.")
@json_option
@click.pass_obj
def prune_events(console: Console, *, older_than: str | None, dry_run: bool, as_json: bool) -> None:
    """Forget the ids of old events, by whole days of UTC. Such events are refused from then on.

    An event that came again could not be told from a new one, so it becomes a dead letter
    (`too_old`). That cannot be undone. A run that was interrupted may be run again.

    Example: laurel db prune-events --older-than 400d --dry-run
    """

    async def main() -> int:
        from store import migrations, retention
        from store.engine import Database

        settings = console.settings
        age = _age(older_than, settings.worker.event_retention)
        async with Database(settings.need("database_url"), settings.database) as database:
            async with database.reading() as conn:
                await migrations.check(conn)
            report = await retention.prune(database, age, dry_run=dry_run, say=console.say)
        console.result(report.document, report.text, as_json=as_json)
        return 0

    console.run_once(main)


def _age(text: str | None, kept: "timedelta | None") -> "timedelta":
    from datetime import timedelta

    from ops.quantities import duration
    from ops.setting_types import LONGEST

    try:
        found = kept if text is None else duration(text)
    except ValueError as error:
        raise UsageError(f"--older-than {error}.") from None
    if found is None:
        raise UsageError(
            "Ids are kept for ever. Say which to forget: --older-than 400d, or set "
            "LAUREL_WORKER__EVENT_RETENTION."
        )
    if not isinstance(found, timedelta) or not timedelta(days=1) <= found <= LONGEST:
        raise UsageError(
            f"{text or kept} is no duration of a day or more, up to a hundred years, such as 400d."
        )
    return found

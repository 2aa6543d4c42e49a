"""`laurel db`: what an operator does to the database itself."""

import click

from ops.console import Console, json_option


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

    console.run_once(main)

"""`laurel catalog lint|apply` and `laurel explain`.

Thin shells around load.py, apply.py and processor/rules/explanation.py.
"""

from pathlib import Path
from typing import Any
from uuid import UUID

import click

from ops.console import Console, json_option

_DIRECTORY = click.Path(path_type=Path)


@click.group()
def catalog() -> None:
    """Check and apply the catalog of badges."""


@catalog.command()
@click.argument("directory", required=False, type=_DIRECTORY)
@json_option
@click.pass_obj
def lint(console: Console, directory: Path | None, *, as_json: bool) -> None:
    """Check the catalog in DIRECTORY (default: LAUREL_CATALOG_DIR, else the shipped one).

    Every problem is told with file, line and the way out; exit 2 if there is one. Nothing is
    written, no database is asked.

    Example: laurel catalog lint ./my-catalog
    """
    from processor.catalog.load import load

    place = _place(console, directory)
    found = load(place)
    counts = {
        "types": len(found.types),
        "levels": sum(len(badge_type.levels) for badge_type in found.types),
        "counters": len(found.counters),
        "event_types": len(found.events),
    }
    text = (
        f"{place}: "
        + ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items())
        + ". Sound."
    )
    console.result({"directory": str(place), **counts}, text, as_json=as_json)


@catalog.command()
@click.argument("directory", required=False, type=_DIRECTORY)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--silent", is_flag=True, help="Send no messages about the badges that it gives.")
@click.option("--no-mint", is_flag=True, help="Mint none of them by itself.")
@click.option(
    "--max-awards",
    "awards_max",
    type=click.IntRange(min=0),
    help="Refuse it where it would give more badges and levels than this.",
)
@click.option("--no-topics", is_flag=True, help="Do not look whether its topics exist.")
@json_option
@click.pass_obj
def apply(
    console: Console,
    /,
    directory: Path | None,
    *,
    dry_run: bool,
    no_topics: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Put the catalog in DIRECTORY in force (default: LAUREL_CATALOG_DIR, else the shipped one).

    Its topics that are missing are made first, where LAUREL_KAFKA_BROKERS is set. Events are
    counted by it at once. Users whom it touches are evaluated again afterwards, a few at a time;
    interrupted, the same command goes on, and so does a worker. What would take away a level that
    somebody holds, or change what a counter means, is refused with exit 2; nothing is half applied.

    Example: laurel catalog apply --dry-run
    """
    from processor.catalog.apply import ApplyOptions, JobLines, apply_catalog
    from processor.catalog.apply import dry_run as planned
    from processor.catalog.load import load

    place = _place(console, directory)
    found = load(place)

    async def main() -> int:
        from processor.stream import topics
        from store import migrations
        from store.engine import Database

        settings, made = console.settings, list[str]()

        async def make_topics() -> None:
            if not no_topics:
                made.extend(await topics.before_catalog(settings, found, dry_run=dry_run))

        async with Database(settings.need("database_url"), settings.database) as database:
            async with database.transaction() as conn:
                await migrations.check(conn)
            if dry_run:
                outcome = await planned(database, found)
                await make_topics()
            else:
                outcome = await apply_catalog(
                    database,
                    found,
                    ApplyOptions(**options),
                    tenant_id=settings.tenant_id,
                    prepare=make_topics,
                    report=JobLines(console.say),
                )
        word = "missing" if dry_run else "made"
        lines = [outcome.text, *(f"  topic {word}: {name}" for name in made)]
        document = outcome.document | {f"topics_{word}": made}
        console.result(document, "\n".join(lines), as_json=as_json)
        return 0

    console.run_once(main)


@click.command()
@click.argument("user", type=click.UUID)
@click.argument("badge", required=False)
@json_option
@click.pass_obj
def explain(console: Console, user: UUID, badge: str | None, *, as_json: bool) -> None:
    """Show why a user has a badge's level, and what the next one lacks.

    USER is the user's UUID, BADGE a type's code; without it, every type.

    Example: laurel explain 7f3a1c9e-0000-4000-8000-000000000001 explorer
    """

    async def main() -> int:
        from dataclasses import asdict

        from ops.errors import UsageError
        from processor.rules import explanation
        from processor.rules.levels import Rulebook
        from store import catalogs, migrations, user_badges
        from store.engine import Database

        async with (
            Database(console.settings.need("database_url"), console.settings.database) as database,
            database.transaction() as conn,
        ):
            await migrations.check(conn)
            found = await catalogs.current(conn)
            progress = await user_badges.of_user(conn, user)
        if found is None:
            raise UsageError(catalogs.NO_CATALOG)
        rules = Rulebook.compile(found)
        codes = sorted(rules.by_code)
        if badge is not None and badge not in codes:
            raise UsageError(f"There is no badge type {badge}: take one of {', '.join(codes)}.")
        badges = [
            explanation.explain(rules.by_id[each.type_id], each.counters, each.instance)
            for each in progress
            if badge is None or rules.by_id[each.type_id].spec.code == badge
        ]
        document = {"user_id": str(user), "badges": [asdict(each) for each in badges]}
        console.result(document, "\n\n".join(map(explanation.as_text, badges)), as_json=as_json)
        return 0

    console.run_once(main)


def _place(console: Console, directory: Path | None) -> Path:
    from processor.catalog.load import SHIPPED

    return directory or console.settings.catalog_dir or SHIPPED

"""`laurel events`: the contract with producers, as schemas and as a check of what they write."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.history.validation import Tally, Verdict

_CATALOG = click.option(
    "--catalog",
    "directory",
    type=click.Path(path_type=Path),
    help="By the catalog in this directory, without a database.",
)


@click.group()
def events() -> None:
    """Check what producers write, and print the JSON Schemas of it."""


@events.command()
@click.argument("event_type", metavar="[TYPE]", required=False)
@_CATALOG
@click.pass_obj
def schema(console: Console, event_type: str | None, directory: Path | None) -> None:
    """Print the JSON Schema of TYPE; without TYPE one document with those of all types by name.

    By the catalog in force; where there is none, by LAUREL_CATALOG_DIR, else by the shipped one.

    Example: laurel events schema quest.completed > quest.completed.json
    """

    async def main() -> int:
        from ops.errors import UsageError
        from ops.lifecycle import EXIT_OK
        from processor.catalog.spelling import no_such_type
        from processor.events.json_schema import schemas
        from processor.history import validation

        found = schemas(await validation.catalog_of(console.settings, directory))
        if event_type is not None and event_type not in found:
            raise UsageError(no_such_type(event_type, found))
        document = found if event_type is None else found[event_type]
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return EXIT_OK

    console.run_once(main)


@events.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_CATALOG
@click.option("--topic", help="Read them as if they all came by this topic.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each message.")
@click.pass_obj
def validate(
    console: Console, file: Path, directory: Path | None, topic: str | None, *, as_json: bool
) -> None:
    """Say of each message in FILE what a worker would say: whether it takes it, and why not.

    A worker takes a message by the topic of its type alone: the answer names that, and with --topic
    rejects what belongs on another one (`wrong_topic`). Of what is taken, an id that was used and
    the badges that there are may still make a dead letter.

    FILE holds one CloudEvent in JSON a line, perhaps packed by gzip; - is standard input, and is
    answered line by line. Nothing is counted or written. Exit 1 if a message is rejected. By the
    catalog in force; where there is none, by LAUREL_CATALOG_DIR, else by the shipped one.

    Example: laurel events validate --catalog ./my-catalog messages.jsonl
    """
    from ops.clock import SYSTEM_CLOCK
    from ops.errors import UsageError
    from ops.lifecycle import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK
    from processor.history import sources, validation
    from processor.history.inputs import pipes

    name, tally = pipes.name_of(file), validation.Tally()
    try:
        # The loop is over before the first line: whoever waits for one ends at a signal.
        forecast = asyncio.run(validation.forecast_of(console.settings, directory))
        if topic is not None:
            topic = validation.contract_topic(console.settings, forecast.catalog, topic)
        topics = validation.topics_by_type(console.settings, forecast.catalog)
        with sources.streamed(file, console.settings.worker.record_bytes_max) as records:
            for verdict in validation.verdicts(records, forecast, SYSTEM_CLOCK.now, topic):
                tally.add(verdict)
                if as_json:
                    click.echo(json.dumps(asdict(verdict), ensure_ascii=False))
                elif verdict.reason is not None:
                    click.echo(_line(name, verdict))
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}", path=name) from error
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    # Beside lines of JSON it is talk.
    click.echo(_summary(name, tally, topics), err=as_json)
    sys.exit(EXIT_FAILURE if tally.rejected else EXIT_OK)


def _line(name: str, verdict: "Verdict") -> str:
    return f"{name}:{verdict.line}: {verdict.reason}: {verdict.detail}"


def _summary(name: str, tally: "Tally", topics: "Mapping[str, str]") -> str:
    taken, rejected = tally.taken.total(), tally.rejected.total()
    lines = [
        f"{name}: {taken + rejected} messages, {taken} taken, {rejected} rejected",
        *(
            f"  {kind:<20} {number} by {topics[kind]}"
            + (", which no counter listens to" if tally.unheard[kind] else "")
            for kind, number in sorted(tally.taken.items())
        ),
        *(f"  {reason:<20} {number} rejected" for reason, number in tally.rejected.most_common()),
    ]
    return "\n".join(lines)

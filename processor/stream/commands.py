"""`laurel worker`, `laurel topics` and `laurel send`."""

from pathlib import Path

import click

from ops.console import Console, json_option


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
    console.role = "worker"
    console.run(lambda stop: worker.run(settings, stop))


@click.group()
def topics() -> None:
    """Prepare Kafka's topics."""


@topics.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say which topics are missing, and make none.")
@json_option
@click.pass_obj
def create(console: Console, directory: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Make the topics that are missing; those that exist stay as they are.

    The catalog names the topics of events: the one in DIRECTORY, before it is applied; else the one
    in force, or where there is none yet, the one of LAUREL_CATALOG_DIR.

    Example: LAUREL_KAFKA__PARTITIONS=12 laurel topics create
    """

    async def main() -> int:
        from ops.lifecycle import EXIT_OK
        from processor.stream import topics

        missing, there = await topics.prepare(
            console.settings, dry_run=dry_run, directory=directory
        )
        lines = [f"{'missing' if dry_run else 'made   '}  {name}" for name in missing]
        lines += [f"there    {name}" for name in there]
        document = {
            "made": [] if dry_run else missing,
            "missing": missing if dry_run else [],
            "there": there,
        }
        console.result(document, "\n".join(lines), as_json=as_json)
        return EXIT_OK

    console.run_once(main)


@click.command()
@click.argument("event_type", metavar="TYPE")
@click.argument("data", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--user", required=True, type=click.UUID, help="Whose event it is: the subject.")
@click.option(
    "--times",
    default=1,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="So many events, each with an id of its own.",
)
@click.option("--dry-run", is_flag=True, help="Print the messages, one a line, and send none.")
@click.pass_obj
def send(
    console: Console,
    event_type: str,
    data: tuple[str, ...],
    user: object,
    times: int,
    *,
    dry_run: bool,
) -> None:
    """Send an event to Kafka, as a producer would.

    The catalog in force says which types and fields there are; where there is none, that of
    LAUREL_CATALOG_DIR, else the shipped one. What a worker would reject is not sent.

    Example: laurel send city.visited city_id=2950159 country=DE --user
        0b9e2c1e-7a54-4f36-9a55-0d0c9b7a4a10
    """

    async def main() -> int:
        from ops.lifecycle import EXIT_OK
        from processor.stream.send import TypedEvent, prepare, publish

        messages = await prepare(console.settings, TypedEvent(event_type, str(user), data), times)
        for name in messages.undeclared:
            console.say(f"{name} is no declared field: only a filter may read it.")
        if dry_run:
            for value in messages.values:
                click.echo(value)
            console.say(f"{times} x {event_type} would be sent to {messages.topic}.")
        else:
            await publish(console.settings, messages)
            console.say(f"{times} x {event_type} sent to {messages.topic}.")
        return EXIT_OK

    console.run_once(main)

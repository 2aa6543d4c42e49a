"""`laurel send`."""

from typing import TYPE_CHECKING

import click

from ops.console import Console

if TYPE_CHECKING:
    from ops.lifecycle import Stop


@click.command()
@click.argument("event_type", metavar="TYPE")
@click.argument("data", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--user", required=True, type=click.UUID, help="Whose event it is: the subject.")
@click.option(
    "--times",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="So many events, each with an id of its own.",
)
@click.pass_obj
def send(
    console: Console, event_type: str, data: tuple[str, ...], user: object, times: int
) -> None:
    """Send an event to Kafka, as a producer would.

    Example: laurel send city.visited city_id=2950159 country=DE --user
        0b9e2c1e-7a54-4f36-9a55-0d0c9b7a4a10
    """

    async def main(_stop: "Stop") -> int:
        from ops.lifecycle import EXIT_OK
        from processor.stream.send import TypedEvent, send

        event = TypedEvent(event_type, str(user), data)
        topic = await send(console.settings, event, times)
        console.say(f"{times} x {event_type} sent to {topic}.")
        return EXIT_OK

    console.run(main)

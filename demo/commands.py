"""`laurel demo` and `laurel dev`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from demo.events.options import Plan
from ops.console import Console, json_option

if TYPE_CHECKING:
    from demo.result import Result
    from ops.lifecycle import Stop

_DEFAULTS = Plan()
_FULL = Plan(events=100_000, travellers=4_000)
_directory = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="For the event file, logs and data; kept afterwards. By default one that is thrown away.",
)
_broker = click.option(
    "--broker",
    type=click.Choice(["tansu", "kafka"]),
    default="tansu",
    show_default=True,
    help="Kafka needs Java and `make kafka`.",
)


@click.command()
@click.option(
    "--seed", default=_DEFAULTS.seed, show_default=True, help="The same seed makes the same events."
)
@click.option(
    "--events",
    type=int,
    show_default=f"{_DEFAULTS.events}; with --full {_FULL.events}",
    help="Good events, duplicates not counted.",
)
@click.option(
    "--travellers",
    type=int,
    show_default=f"{_DEFAULTS.travellers}; with --full {_FULL.travellers}",
    help="Users who cause them.",
)
@click.option(
    "--full",
    is_flag=True,
    help="More events; and at the end the database is lost, and a backup takes over.",
)
@click.option(
    "--keep", is_flag=True, help="Leave everything up after the comparison, until Ctrl-C."
)
@_directory
@_broker
@json_option
@click.pass_obj
def demo(
    console: Console,
    seed: int,
    events: int | None,
    travellers: int | None,
    directory: Path | None,
    broker: str,
    *,
    full: bool,
    keep: bool,
    as_json: bool,
) -> None:
    """Run all of Laurel on this machine, and compare the outcome with what is expected.

    Starts PostgreSQL, a Kafka broker, a TON network, two workers and a minter; sends a year of
    travellers' events; kills a worker and the minter on the way; and compares what came out with
    what must come out, down to the tokens on chain. Exit code 0 only if all of it holds.

    Example: laurel demo --events 5000 --travellers 300
    """
    usual = _FULL if full else _DEFAULTS
    plan = Plan(
        seed=seed,
        events=usual.events if events is None else events,
        travellers=usual.travellers if travellers is None else travellers,
    )

    async def main(stop: "Stop") -> int:
        from demo import running
        from ops.lifecycle import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK

        def report(result: "Result") -> None:
            console.result(result.document(), result.text(), as_json=as_json)

        options = running.Options(directory, broker == "kafka", stay=keep, full=full)
        result = await running.demo(console.settings, plan, stop, options, report)
        if result is None:
            return EXIT_INTERRUPTED
        return EXIT_OK if result.holds else EXIT_FAILURE

    console.run(main)


@click.command()
@_directory
@_broker
@click.pass_obj
def dev(console: Console, directory: Path | None, broker: str) -> None:
    """Keep the whole stack up until Ctrl-C, with every address.

    Example: laurel dev --directory ./laurel-dev
    """

    async def main(stop: "Stop") -> int:
        from demo import running
        from ops.lifecycle import EXIT_OK

        await running.dev(
            console.settings, stop, running.Options(directory, real_kafka=broker == "kafka")
        )
        return EXIT_OK

    console.run(main)

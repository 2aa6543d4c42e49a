"""`laurel`: the command line, and the only place that knows which package a command lives in.

Commands are loaded when they are called: `laurel --help` imports click and nothing heavy
(tests/test_cli.py holds the set of modules, benchmarks/cli_start.py prints the time). Every error
that Laurel raises on purpose ends here as one message and an exit code.
"""

import importlib
import os
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from ops.console import Console, OutputLost, prepare_streams
from ops.errors import LaurelError, UsageError

if TYPE_CHECKING:
    from ops.checks import Check
    from ops.status import StatusSource

# catalog/explorer.yaml:31: ...
_PLACE = re.compile(r"\S[^\n]*?:\d+: ")
EXIT_CODES = """
Exit codes: 0 done; 1 it failed, or something differs (`reconcile`, `demo`);
2 bad input, setting or catalog: the message names the
place and the way out; 130 interrupted. Of `doctor` and `status`: 0 all is well,
1 a person should look, 2 something does not work.
"""

# command -> where its click object is, and its line in the help (a test holds it equal to the
# command's own).
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "demo.commands:demo",
        "Run all of Laurel on this machine, and compare the outcome with what is expected.",
    ),
    "dev": ("demo.commands:dev", "Keep the whole stack up until Ctrl-C, with every address."),
    "send": ("processor.stream.commands:send", "Send an event to Kafka, as a producer would."),
    "events": (
        "processor.history.event_commands:events",
        "Check what producers write, and print the JSON Schemas of it.",
    ),
    "db": ("store.commands:db", "Prepare the database."),
    "topics": ("processor.stream.commands:topics", "Prepare Kafka's topics."),
    "partitions": (
        "processor.stream.partition_commands:partitions",
        "List partitions that are paused, and decide how they go on.",
    ),
    "catalog": ("processor.commands:catalog", "Check and apply the catalog of badges."),
    "worker": ("processor.stream.commands:worker", "Count events from Kafka and give out badges."),
    "minter": ("minter.commands:minter", "Work off the mint queue on TON."),
    "backfill": (
        "processor.backfill_command:backfill",
        "Count history: files of events, or a range of a topic.",
    ),
    "rebuild": (
        "processor.history.rebuild_commands:rebuild",
        "Compute counters anew from history, beside the live system.",
    ),
    "history": (
        "processor.history.fill_commands:history",
        "Give a new counter its past, and list what was begun.",
    ),
    "badge": (
        "processor.batch.commands:badge",
        "Award, mint, burn or revoke one badge; announce silent ones.",
    ),
    "queue": (
        "minter.queue_commands:queue",
        "List what waits in the mint queue for a person, and let it go on.",
    ),
    "reconcile": (
        "minter.commands:reconcile",
        "Compare the chain with the database, and repair the database.",
    ),
    "explain": (
        "processor.commands:explain",
        "Show why a user has a badge's level, and what the next one lacks.",
    ),
    "wallet": ("minter.commands:wallet", "Show the minting wallet."),
    "sandbox": ("sandbox.commands:sandbox", "Run one of the embedded parts alone."),
    "config": ("ops.commands:config", "Check the settings."),
    "doctor": (
        "ops.commands:doctor",
        "Look at everything that Laurel needs, and say what is missing and the way out.",
    ),
    "status": ("ops.commands:status", "Show what Laurel does now, on one screen."),
}


# Where each package's checks are, in the order in which a person sets things up.
CHECKS = ("ops.settings_check", "store.checks", "processor.checks", "minter.checks")
# And what they tell of now, in the order of the pipeline.
SOURCES = ("processor.status", "store.status", "minter.status")


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called.

    The help needs only the table above.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order: the way a newcomer meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or return None for click's "No such command"."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error of ours becomes one message on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            # A place comes first, where editors and scripts look for it.
            prefix = "" if _PLACE.match(error.message) else "laurel: "
            ctx.obj.say_error(error, f"{prefix}{error.message}")
            sys.exit(2)
        except LaurelError as error:
            ctx.obj.say_error(error, f"laurel: {error.code}: {error.message}")
            sys.exit(1)

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - click's
        """Run the command line; a help that cannot be written becomes a message, too."""
        prepare_streams()
        try:
            _refuse_bytes(args[0] if args else extra.get("args") or sys.argv[1:])
            return super().main(*args, **extra)
        except UsageError as error:
            Console.say(f"laurel: {error.message}")
            sys.exit(2)
        except OutputLost as error:
            Console.say(f"laurel: {error.code}: {error.message}")
            sys.exit(1)


def _refuse_bytes(arguments: Iterable[str]) -> None:
    """Return where each argument is text; a file's name may be any bytes."""
    for each in arguments:
        try:
            each.encode()
        except UnicodeEncodeError:
            if not os.path.lexists(each):
                raise UsageError(f"{each!a} is no text in UTF-8.") from None


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=EXIT_CODES,
)
@click.version_option(package_name="laurel", prog_name="laurel")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Laurel turns streams of events into earned badges, and mints them as soulbound tokens on TON.

    Settings come from the environment and from the TOML file that LAUREL_CONFIG_FILE names; `laurel
    config check` prints them. To see everything at work on this machine:

        laurel demo
    """
    ctx.obj = console = Console(_load_checks, _load_sources)
    ctx.call_on_close(console.close)


def _load_checks() -> "list[Check]":
    return [check for module in CHECKS for check in importlib.import_module(module).CHECKS]


def _load_sources() -> "list[StatusSource]":
    return [source for module in SOURCES for source in importlib.import_module(module).SOURCES]


if __name__ == "__main__":
    main(prog_name="laurel")

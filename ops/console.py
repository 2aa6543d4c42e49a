"""Settings, output and exit code: what every command shares.

Settings when they are first needed, results on stdout, talk on stderr.

A command takes `@click.pass_obj console: Console`. Results go through `result` (text for people,
one JSON document with `--json`); everything else that is said goes through `say`. Importing this
module loads click and nothing heavy: `laurel --help` stays fast.
"""

import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ops.checks import Check
    from ops.lifecycle import Stop
    from ops.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


class Console:
    """The settings of this call, and its output: results on stdout, the rest on stderr.

    Args:
        load_checks: imports the checks of all packages; `laurel doctor` calls it.

    Attributes:
        role: which metrics are written at the end, as `Role` of ops/metric_roles.py has it.
    """

    def __init__(self, load_checks: "Callable[[], list[Check]]") -> None:
        self.load_checks = load_checks
        self.role = "command"

    @cached_property
    def settings(self) -> "Settings":
        """Return the settings, read once.

        Raises:
            UsageError: they are broken.
        """
        from ops import logs
        from ops.settings import load

        settings = load()
        as_json = None if settings.log.format == "auto" else settings.log.format == "json"
        logs.configure(settings.log.level, json=as_json)
        return settings

    def run(self, main: "Callable[[Stop], Coroutine[Any, Any, int]]") -> None:
        """Run a process's `main` under ops.lifecycle (signals, drain bound); exit with its code."""
        from ops import lifecycle

        sys.exit(lifecycle.run(main, self.settings.lifecycle.drain_timeout))

    def run_once(
        self, main: "Callable[[], Coroutine[Any, Any, int]]", *, watched: bool = True
    ) -> None:
        """Run `main`, which ends by itself; exit with its code. A signal ends it at once.

        What is in a transaction is rolled back; nothing is drained.

        Args:
            main: the command's work.
            watched: end it where it stands still for `lifecycle.stall_after`; not where a single
                statement may take hours.
        """
        import asyncio

        from ops.lifecycle import EXIT_INTERRUPTED

        stall_after = self.settings.lifecycle.stall_after  # refused before anything starts
        name = click.get_current_context().command_path

        async def watching() -> int:
            from ops.watchdog import Watchdog

            with Watchdog(stall_after) as dog, dog.work(name):
                return await main()

        try:
            code = asyncio.run(watching() if watched else main())
        except KeyboardInterrupt:
            code = EXIT_INTERRUPTED
        sys.exit(code)

    def close(self) -> None:
        """Write this call's metrics for the node exporter, where LAUREL_METRICS_TEXTFILE is set."""
        # Not the property: it would read settings that nobody needed.
        settings: Settings | None = self.__dict__.get("settings")
        if settings is not None and settings.metrics_textfile is not None:
            from ops.metric_roles import Role, write_textfile

            try:
                write_textfile(settings.metrics_textfile, Role(self.role))
            except OSError as error:
                # What was asked for is done: its exit code stays.
                self.say(f"LAUREL_METRICS_TEXTFILE: {settings.metrics_textfile}: {error.strerror}")

    @staticmethod
    def result(document: Mapping[str, object], text: str, *, as_json: bool) -> None:
        """Print the result: `text` for a person, `document` as one line of JSON for a script."""
        click.echo(json.dumps(document, default=str, ensure_ascii=False) if as_json else text)

    @staticmethod
    def say(text: str) -> None:
        """Tell a person something that is not the result."""
        click.echo(text, err=True)


def json_option(command: Command) -> Command:
    """Add `--json`, passed as `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result as one line of JSON."
    )(command)

"""Settings, output and exit code: what every command shares.

Settings when they are first needed, results on stdout, talk on stderr.

A command takes `@click.pass_obj console: Console`. Results go through `result` (text for people,
one JSON document with `--json`); everything else that is said goes through `say`. Importing this
module loads click and nothing heavy: `laurel --help` stays fast.
"""

import errno
import io
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ops.errors import LaurelError

if TYPE_CHECKING:
    from ops.checks import Check
    from ops.lifecycle import Stop
    from ops.settings import Settings
    from ops.status import StatusSource

Command = TypeVar("Command", bound=Callable[..., Any])

# What was given up may hang in its end, too.
_END_BOUND = timedelta(seconds=5)


class OutputLost(LaurelError):
    """Standard output takes no more: what was asked for may be done, but nobody is told."""

    code = "output_lost"


class Console:
    """The settings of this call, and its output: results on stdout, the rest on stderr.

    Args:
        load_checks: imports the checks of all packages; `laurel doctor` calls it.
        load_sources: imports what all packages tell of now; `laurel status` calls it.

    Attributes:
        role: which metrics are written at the end, as `Role` of ops/metric_roles.py has it.
        as_json: whether this call's result, and its error, are for a script.
    """

    def __init__(
        self,
        load_checks: "Callable[[], list[Check]]",
        load_sources: "Callable[[], list[StatusSource]]",
    ) -> None:
        self.load_checks = load_checks
        self.load_sources = load_sources
        self.role = "command"
        self.as_json = False

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
        self,
        main: "Callable[[], Coroutine[Any, Any, int]]",
        *,
        watched: bool = True,
        may_leave_behind: bool = False,
    ) -> None:
        """Run `main`, which ends by itself; exit with its code. A signal ends it at once.

        What is in a transaction is rolled back; nothing is drained.

        Args:
            main: the command's work.
            watched: end it where it stands still for `lifecycle.stall_after`; not where a single
                statement may take hours.
            may_leave_behind: end hard, soon after `main`, where something that it gave up hangs on.
        """
        import asyncio
        from contextlib import ExitStack

        from ops.lifecycle import EXIT_INTERRUPTED, exit_hard_after

        stall_after = self.settings.lifecycle.stall_after  # refused before anything starts
        self._talk_less()
        name = click.get_current_context().command_path

        async def watching() -> int:
            from ops.watchdog import Watchdog

            with Watchdog(stall_after) as dog, dog.work(name):
                return await main()

        async def ending() -> int:
            code = EXIT_INTERRUPTED
            try:
                code = await (watching() if watched else main())
            finally:
                if may_leave_behind:
                    ended.callback(exit_hard_after(_END_BOUND, code).cancel)
            return code

        with ExitStack() as ended:
            try:
                code = asyncio.run(ending())
            except KeyboardInterrupt:
                code = EXIT_INTERRUPTED
        sys.exit(code)

    def _talk_less(self) -> None:
        """Log warnings alone, unless LAUREL_LOG__LEVEL says otherwise.

        What a command did is what it prints; INFO is for processes that stay.
        """
        from ops import logs

        log = self.settings.log
        if "level" not in log.model_fields_set:
            as_json = None if log.format == "auto" else log.format == "json"
            logs.configure("WARNING", json=as_json)

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

    def say_error(self, error: LaurelError, text: str) -> None:
        """Tell why this call failed: `text` to a person, code and message to a script.

        It counts as an error where somebody reads this call's metrics.
        """
        settings: Settings | None = self.__dict__.get("settings")
        if settings is not None and settings.metrics_textfile is not None:
            from ops import metrics

            metrics.ERRORS.labels(error.code).inc()
        document = {"error": error.code, "message": error.message}
        self.say(json.dumps(document, ensure_ascii=False) if self.as_json else text)


class _ResultStream(io.TextIOWrapper):
    """Standard output, whose failure is an error of its own.

    An OSError could be anybody's, and a command that asks a database or a file would take it for
    one of theirs.
    """

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise self._lost(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._lost(error) from None

    def _lost(self, error: OSError) -> BaseException:
        """Return what becomes of the call: whoever reads may have read enough (`| head -1`)."""
        # What is left goes nowhere: Python would try it once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
        if error.errno == errno.EPIPE:
            return SystemExit(1)
        return OutputLost(f"standard output cannot be written: {error.strerror}.")


class _TalkStream(io.TextIOWrapper):
    """Standard error: where nobody can be told, what was asked for is done all the same."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare_streams() -> None:
    """Let stdout tell a failure of its own, and stderr none.

    Both take any text whatever the locale: what an encoding lacks is escaped. A test's own streams
    stay as they are.
    """
    if sys.stderr is None:  # it was closed
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - to the end of the process
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _instead_of(sys.stdout, _ResultStream)
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _instead_of(sys.stderr, _TalkStream)


def _instead_of(stream: io.TextIOWrapper, kind: type[io.TextIOWrapper]) -> io.TextIOWrapper:
    return kind(
        stream.buffer,
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
    )


def json_option(command: Command) -> Command:
    """Add `--json`, passed as `as_json`."""

    def noted(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:
        console = ctx.find_object(Console)
        if console is not None:
            console.as_json = value
        return value

    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        callback=noted,
        help="Print the result as one line of JSON, on stdout; an error as one on stderr.",
    )(command)

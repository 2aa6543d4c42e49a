"""Logs: one structured line a fact, JSON off a terminal, on stderr (stdout is for results).

Event names are in the past tense and snake_case (`batch_committed`); ids are fields. Libraries that
log through the standard library are passed through the same renderer, so a process speaks with one
voice. Each error line has a `code`, whoever logs it: what an alert on logs groups by.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from ops.errors import UNKNOWN, code_of
from ops.sparing import Sparing

# Harmless at INFO and loud: each says more often than it helps what the canonical lines say once.
# What they warn of is told once a minute.
_QUIET = ("aiokafka", "faust", "mode", "aiohttp.access", "asyncio", "alembic", "pytonlib")


def logger(name: str) -> FilteringBoundLogger:
    """Return the logger called `name`; the name is the field `component` of its lines."""
    return cast("FilteringBoundLogger", structlog.get_logger(component=name))


def configure(
    level: str = "INFO", *, json: bool | None = None, stream: TextIO | None = None
) -> None:
    """Send every log line of this process to `stream`.

    Args:
        level: a standard library level name.
        json: one JSON object a line; by default where `stream` is no terminal.
        stream: stderr unless given.
    """
    target = stream or sys.stderr
    as_json = not target.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _name_the_error,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    tail: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=target.isatty())]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _name_the_library],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
        )
    )
    handler.addFilter(Sparing(_QUIET))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _name_the_error(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Give an error line without a code that of its exception, or say whose line it is."""
    if event.get("level") in ("error", "critical") and "code" not in event:
        given = event.get("exc_info")
        if given is True:
            given = sys.exc_info()
        error = given[1] if isinstance(given, tuple) else given
        code = code_of(error)
        event["code"] = "library" if code == UNKNOWN and "_record" in event else code
    return event


@contextmanager
def untold() -> Iterator[None]:
    """Let nobody log while the block runs: what is met is told in the result.

    A command whose result is what it met would say each thing twice, and spoil its own screen.
    """
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _name_the_library(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        event.setdefault("component", record.name)
        if left_out := getattr(record, "left_out", 0):
            event["left_out"] = left_out
    return event

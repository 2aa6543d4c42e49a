"""Files of history, and `laurel backfill` without its process."""

from pathlib import Path
from typing import Any

from ops.lifecycle import Stop
from ops.settings import Settings
from processor.history import backfill as backfilling
from processor.history.backfill import BackfillOptions, BackfillReport, ProgressLines
from processor.history.inputs.reading import inputs_of
from tests.builders.messages import encoded


def lines(*messages: dict[str, Any] | bytes) -> bytes:
    return b"".join((encoded(message) or b"") + b"\n" for message in messages)


def a_file(path: Path, *messages: dict[str, Any] | bytes) -> Path:
    path.write_bytes(lines(*messages))
    return path


async def backfill(
    settings: Settings,
    *sources: Path,
    stop: Stop | None = None,
    progress: ProgressLines | None = None,
    **options: Any,
) -> BackfillReport:
    """Count the files `sources`."""
    return await backfilling.backfill(
        settings,
        inputs_of([str(source) for source in sources]),
        BackfillOptions(**options),
        stop or Stop(),
        progress or ProgressLines(lambda _line: None),
    )

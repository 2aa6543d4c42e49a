"""`laurel backfill`: history from files, or from a range of a topic."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.console import Console, json_option
from ops.errors import UsageError

if TYPE_CHECKING:
    from ops.lifecycle import Stop
    from processor.history.backfill import Sources

_SIZE = re.compile(r"(\d+)\s*(MiB|GiB|M|G)", re.IGNORECASE)
_UNITS = {"m": 1 << 20, "g": 1 << 30}


class MemorySize(click.ParamType):
    """An amount of memory: 512MiB, 2GiB."""

    name = "size"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return it in bytes."""
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no size: write 512MiB or 2GiB.", param, ctx)
        return int(found[1]) * _UNITS[found[2][0].lower()]


# What is not of the source is named as the fields of BackfillOptions.
@click.command()
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option("--topic", metavar="TOPIC", help="Read a range of this topic instead of files.")
@click.option("--from", "begin", metavar="BOUND", help="Its first offset or time; else all.")
@click.option("--to", "end", metavar="BOUND", help="Up to this offset or time, without it.")
@click.option("--partition", "partitions", type=int, multiple=True, help="Only this one; again.")
@click.option("--dry-run", is_flag=True, help="Say what would come of it; write nothing.")
@click.option("--strict", is_flag=True, help="Count nothing where a record is refused.")
@click.option(
    "--refused",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Name each refused record in this file, one line of JSON each.",
)
@click.option("--announce", is_flag=True, help="Send messages about badges (outbox).")
@click.option("--mint", is_flag=True, help="Mint badges by themselves, behind all other mints.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="With --mint: so many a second."
)
@click.option(
    "--memory", type=MemorySize(), default="1GiB", show_default=True, help="May take so much."
)
@json_option
@click.pass_obj
def backfill(
    console: Console,
    /,
    sources: tuple[str, ...],
    topic: str | None,
    begin: str | None,
    end: str | None,
    partitions: tuple[int, ...],
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Count history: files of events, or a range of a topic.

    SOURCE is a file of CloudEvents, one in JSON a line, perhaps packed by gzip or zstd, or Parquet;
    a directory of such files; a pattern ('2025-*.jsonl.gz'); or - for standard input. With --topic
    it is what lies between two offsets or times of a Kafka topic, read beside all consumer groups:
    a BOUND is an offset (1000), one of each partition (0:1000,1:2000), or a time
    (2025-01-02T03:04:05Z).

    An event counts once, however often and by whatever way it comes. What the stream would refuse
    is refused here, and named by file and line; the others count. Nothing is said about the badges
    that follow and nothing is minted, unless it is asked for; what is left out follows once Kafka
    brings one of the same events, or by `laurel badge announce`. An interrupted run goes on when it
    is given again. Workers may run beside it.

    Example: laurel backfill --dry-run events-2025/
    """
    _refuse_together(sources, topic, begin, end, partitions, options)
    console.role = "backfill"

    async def main(stop: "Stop") -> int:
        from processor.history.backfill import BackfillOptions, ProgressLines, backfill

        chosen = BackfillOptions(**options)
        if topic is None:
            named = _files(console, sources)
        else:
            named = await _range(console, topic, begin, end, partitions)
        report = await backfill(console.settings, named, chosen, stop, ProgressLines(console.say))
        console.result(report.document, report.text, as_json=as_json)
        return report.load.exit_code(strict=chosen.strict)

    console.run(main)


def _files(console: Console, sources: tuple[str, ...]) -> "Sources":
    from processor.history.inputs.reading import inputs_of

    inputs = inputs_of(sources)
    for name in inputs.left_out:
        console.say(f"{name}: left out, by its name no file of events")
    return inputs


async def _range(
    console: Console,
    topic: str,
    begin: str | None,
    end: str | None,
    partitions: tuple[int, ...],
) -> "Sources":
    from processor.stream import topic_range
    from processor.topic_source import TopicSource

    asked = await topic_range.resolve(
        console.settings,
        topic,
        None if begin is None else topic_range.bound(begin),
        None if end is None else topic_range.bound(end),
        partitions,
    )
    return TopicSource(console.settings, asked)


def _refuse_together(
    sources: tuple[str, ...],
    topic: str | None,
    begin: str | None,
    end: str | None,
    partitions: tuple[int, ...],
    options: dict[str, Any],
) -> None:
    if topic is None and not sources:
        raise UsageError("Name a SOURCE (files, directories, patterns, -), or a --topic.")
    if topic is not None and sources:
        raise UsageError("Read files or a --topic, one after the other: each is a run of its own.")
    if topic is None and (begin or end or partitions):
        raise UsageError("--from, --to and --partition say which part of a --topic: name one.")
    if options["rate"] is not None and not options["mint"]:
        raise UsageError("--rate says how fast is minted: it goes with --mint.")

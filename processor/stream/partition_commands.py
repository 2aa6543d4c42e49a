"""`laurel partitions`."""

import click

from ops.console import Console, json_option

_CLUSTER = click.option(
    "--cluster", help="The Kafka cluster's id, where partitions of several have this name."
)


@click.group()
def partitions() -> None:
    """List partitions that are paused, and decide how they go on."""


@partitions.command("list")
@json_option
@click.pass_obj
def list_paused(console: Console, *, as_json: bool) -> None:
    """List the partitions that are not read on: since when, at which offset, why, the way out.

    Example: laurel partitions list
    """

    async def main() -> int:
        from ops.lifecycle import EXIT_OK
        from processor.stream.partition_decisions import paused

        found = await paused(console.settings)
        lines = [
            f"{row.paused.topic} {row.paused.partition}  offset {row.paused.offset}  "
            f"{row.paused.reason}  since {row.paused_at:%Y-%m-%d %H:%M:%S}Z\n"
            f"  {row.paused.detail}.\n  {row.paused.way_out}"
            for row in found
        ]
        document = {
            "paused": [
                {
                    "cluster_id": row.cluster_id,
                    "topic": row.paused.topic,
                    "partition": row.paused.partition,
                    "offset": row.paused.offset,
                    "reason": row.paused.reason.value,
                    "detail": row.paused.detail,
                    "skip_to": row.paused.skip_to,
                    "paused_at": row.paused_at.isoformat(),
                }
                for row in found
            ]
        }
        console.result(document, "\n".join(lines) or "No partition is paused.", as_json=as_json)
        return EXIT_OK

    console.run_once(main)


@partitions.command()
@click.argument("topic")
@click.argument("partition", type=click.IntRange(0, 2**31 - 1))
@_CLUSTER
@json_option
@click.pass_obj
def resume(
    console: Console, topic: str, partition: int, cluster: str | None, *, as_json: bool
) -> None:
    """Try a paused partition again, from where the ledger stands.

    Example: laurel partitions resume laurel.quests 0
    """

    async def main() -> int:
        from ops.lifecycle import EXIT_OK
        from processor.stream.partition_decisions import decide

        done = await decide(console.settings, (topic, partition), None, cluster=cluster)
        text = f"{topic}, partition {partition}: read on at offset {done['to']}."
        console.result(done, text, as_json=as_json)
        return EXIT_OK

    console.run_once(main)


@partitions.command()
@click.argument("topic")
@click.argument("partition", type=click.IntRange(0, 2**31 - 1))
@click.option(
    "--to", required=True, type=click.IntRange(0, 2**63 - 1), help="The next offset to be counted."
)
@click.option("--reason", required=True, help="Why; it is kept with your name and the time.")
@click.option("--dry-run", is_flag=True, help="Say what would be skipped, and change nothing.")
@_CLUSTER
@json_option
@click.pass_obj
def skip(
    console: Console,
    /,
    topic: str,
    partition: int,
    to: int,
    reason: str,
    cluster: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Go on at another offset; what lies between is not counted.

    Example: laurel partitions skip laurel.quests 0 --to 8 --reason "lost to retention, INC-12"
    """

    async def main() -> int:
        from ops.lifecycle import EXIT_OK
        from processor.stream.partition_decisions import Skip, decide

        done = await decide(
            console.settings, (topic, partition), Skip(to, reason), cluster=cluster, dry_run=dry_run
        )
        verb = "would go" if dry_run else "goes"
        text = f"{topic}, partition {partition}: {verb} on at {to} instead of {done['from']}."
        console.result(done, text, as_json=as_json)
        return EXIT_OK

    console.run_once(main)

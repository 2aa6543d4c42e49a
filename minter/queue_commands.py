"""`laurel queue`."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from ops.console import Console, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minter.queue_decisions import Outcome
    from store.queue_decisions import WaitingTask

_HOLDS = ("no_wallet", "operator", "breaker", "recipient")
_REASON = click.option("--reason", help="Why; it is kept with your name and the time.")
_TASKS = click.argument("tasks", metavar="TASK...", type=click.UUID, nargs=-1)


@click.group()
def queue() -> None:
    """List what waits in the mint queue for a person, and let it go on."""


@queue.command("list")
@click.option("--hold", type=click.Choice(_HOLDS), help="Only what waits for this reason.")
@click.option("--type", "code", metavar="TYPE", help="Only badges of this type.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Tasks at most."
)
@json_option
@click.pass_obj
def list_waiting(
    console: Console, hold: str | None, code: str | None, limit: int, *, as_json: bool
) -> None:
    """List stopped collections, held tasks and failed burns: why each waits, and the way out.

    Example: laurel queue list --hold operator
    """

    async def main() -> int:
        from minter.queue_decisions import listed
        from ops.lifecycle import EXIT_OK
        from store.values.minting import HoldReason

        chosen = None if hold is None else HoldReason(hold)
        view = await listed(console.settings, hold=chosen, code=code, limit=limit)
        lines = [
            f"{each.type_code}  stopped  since {each.since:%Y-%m-%d %H:%M:%S}Z\n"
            f"  {each.reason}; mend it, then `laurel queue release --type {each.type_code}`"
            for each in view.stopped
        ]
        lines += [_line(task) for task in view.tasks]
        document = {
            "stopped": [
                {
                    "type_code": each.type_code,
                    "collection": each.address,
                    "reason": each.reason,
                    "since": each.since.isoformat(),
                }
                for each in view.stopped
            ],
            "tasks": [_document(task) for task in view.tasks],
        }
        console.result(document, "\n".join(lines) or "Nothing waits.", as_json=as_json)
        return EXIT_OK

    console.run_once(main)


@queue.command()
@click.argument("task", type=click.UUID)
@json_option
@click.pass_obj
def show(console: Console, task: UUID, *, as_json: bool) -> None:
    """Show a task and all that happened to it.

    Example: laurel queue show 5f0c1c3e-6a55-4f0e-9d1c-0a4b5ad3b7a1
    """

    async def main() -> int:
        from minter.queue_decisions import shown
        from ops.lifecycle import EXIT_OK

        found, history = await shown(console.settings, task)
        lines = [_line(found)]
        lines += [
            f"  {each.created_at:%Y-%m-%d %H:%M:%S}Z  {each.event}  -> {each.to_status}"
            + "".join(f"  {name}={value}" for name, value in each.details.items())
            for each in history
        ]
        document = _document(found) | {
            "history": [
                {
                    "event": each.event.value,
                    "from": each.from_status and each.from_status.value,
                    "to": each.to_status.value,
                    "details": each.details,
                    "at": each.created_at.isoformat(),
                }
                for each in history
            ]
        }
        console.result(document, "\n".join(lines), as_json=as_json)
        return EXIT_OK

    console.run_once(main)


@queue.command()
@_TASKS
@_REASON
@click.option("--dry-run", is_flag=True, help="Ask the chain, and change nothing.")
@json_option
@click.pass_obj
def retry(
    console: Console, tasks: tuple[UUID, ...], reason: str | None, *, dry_run: bool, as_json: bool
) -> None:
    """Try parked mints and failed burns again, where the chain shows that nothing came of them.

    A mint keeps its index, so that it can only become one token. Exits 1 where one of them is not
    tried again; why, and the way out, is told.

    Example: laurel queue retry 5f0c1c3e-6a55-4f0e-9d1c-0a4b5ad3b7a1 --reason "network is back"
    """

    async def main() -> int:
        from minter.queue_decisions import Request, retry

        outcomes = await retry(console.settings, Request(_named(tasks), reason, dry_run))
        return _told(console, outcomes, "is tried again", dry_run=dry_run, as_json=as_json)

    console.run_once(main)


@queue.command()
@_TASKS
@click.option("--type", "code", metavar="TYPE", help="End the stop of this type's collection.")
@_REASON
@click.option("--dry-run", is_flag=True, help="Say what would go on, and change nothing.")
@json_option
@click.pass_obj
def release(
    console: Console,
    /,
    tasks: tuple[UUID, ...],
    code: str | None,
    reason: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let tasks go on that wait for a recipient, or a type whose collection is stopped.

    The minter looks at the wallet again, and holds anew what still has no recipient. Exits 1 where
    one of them cannot go on.

    Example: laurel queue release --type explorer --reason "item_value is 0.05 again"
    """

    async def main() -> int:
        from minter.queue_decisions import Request, go_on, release
        from ops.lifecycle import EXIT_OK

        if code is not None and not tasks:
            was = await go_on(console.settings, code, dry_run=dry_run, reason=reason)
            text = f"{code}: {'would go' if dry_run else 'goes'} on; it was stopped: {was}."
            done = {"type_code": code, "reason": was, "dry_run": dry_run}
            console.result(done, text, as_json=as_json)
            return EXIT_OK
        request = Request(_named(tasks), reason, dry_run)
        outcomes = await release(console.settings, request)
        return _told(console, outcomes, "goes on", dry_run=dry_run, as_json=as_json)

    console.run_once(main)


def _named(tasks: tuple[UUID, ...]) -> tuple[UUID, ...]:
    from ops.errors import UsageError

    if not tasks:
        raise UsageError("Name at least one task. `laurel queue list` prints them.")
    return tuple(dict.fromkeys(tasks))


def _told(
    console: Console, outcomes: "Sequence[Outcome]", verb: str, *, dry_run: bool, as_json: bool
) -> int:
    from ops.lifecycle import EXIT_FAILURE, EXIT_OK

    said = f"would go on: {verb}" if dry_run else verb
    lines = [f"{each.task.id}: {each.refusal or said}." for each in outcomes]
    document = {
        "tasks": [
            {"id": str(each.task.id), "done": each.refusal is None, "refusal": each.refusal}
            for each in outcomes
        ],
        "dry_run": dry_run,
    }
    console.result(document, "\n".join(lines), as_json=as_json)
    return EXIT_FAILURE if any(each.refusal is not None for each in outcomes) else EXIT_OK


def _line(task: "WaitingTask") -> str:
    index = "" if task.token_index is None else f"  index {task.token_index}"
    return (
        f"{task.id}  {task.type_code}  {task.operation}  {task.hold_reason or task.status}{index}  "
        f"since {task.updated_at:%Y-%m-%d %H:%M:%S}Z\n"
        f"  badge {task.nft_instance_id}: {task.last_error or 'no reason was noted'}"
    )


def _document(task: "WaitingTask") -> dict[str, Any]:
    return {
        "id": str(task.id),
        "instance_id": str(task.nft_instance_id),
        "user_id": str(task.user_id),
        "type_code": task.type_code,
        "operation": task.operation.value,
        "status": task.status.value,
        "hold": task.hold_reason and task.hold_reason.value,
        "retry_count": task.retry_count,
        "reason": task.last_error,
        "index": task.token_index,
        "recipient": task.recipient,
        "token_id": task.token_id,
        "created_at": task.created_at.isoformat(),
        "updated_at": task.updated_at.isoformat(),
    }

"""Commands that wait until they can be carried out: read for a batch, and written after it.

One that names a badge which is not there yet, or a token, may have overtaken the events that make
it (docs/data-model.md, Commands). It is tried again in each batch that brings something of its
user, before what the batch itself asks for. What comes about without a batch, or in one that could
not see it yet, the worker's sweep finds (processor/stream/waiting_sweep.py).
"""

from collections.abc import Collection, Iterable
from itertools import chain

import msgspec

from processor.batch.command_sequence import Waiting
from processor.batch.command_set import CommandDecisions
from processor.batch.options import PipelineOptions
from processor.batch.staging import Batch, PlacedCommand
from processor.events.reader import BadgeCommand
from processor.events.rejection import Rejected
from store import waiting_commands
from store.engine import Connection
from store.values.stream import topic_label
from store.waiting_commands import NewWaitingCommand, StoredCommand


async def of_batch(
    conn: Connection, batch: Batch, own: Iterable[PlacedCommand], *, silent: bool
) -> list[PlacedCommand]:
    """Return, locked, what waits of the users of a batch's events and of its `own` commands.

    `silent`: what silent runs have left; a run that is silent tries no other. One that is not also
    tries what silent runs have left of its own commands.
    """
    own = list(own)
    users = chain(
        (event.user_id for event in batch.events), (placed.command.user_id for placed in own)
    )
    brought = {placed.command.external_id: placed.command.content_hash for placed in own}
    found = await waiting_commands.of_users(conn, users, brought, silent=silent)
    return [_placed(each) for each in found]


async def due(
    conn: Connection, external_ids: Collection[str], *, silent: bool
) -> list[PlacedCommand]:
    """Return, locked, what waits under `external_ids`."""
    found = await waiting_commands.by_id(conn, external_ids, silent=silent)
    return [_placed(each) for each in found]


async def beside(conn: Connection, commands: Iterable[PlacedCommand]) -> dict[str, Waiting]:
    """Return what waits under ids of `commands`, whose claims are held, and is none of them.

    It is another user's, a silent run's, or came in the moment before the claim.
    """
    new, old = set[str](), set[str]()
    for placed in commands:
        (new if placed.waits is None else old).add(placed.command.external_id)
    return {
        each.external_id: Waiting(each.content_hash, _why(each))
        for each in await waiting_commands.find(conn, new - old)
    }


async def write(conn: Connection, decisions: CommandDecisions, options: PipelineOptions) -> int:
    """Write what begins to wait, what waits for something else, and what waits no more.

    Return how many dead letters were there already.
    """
    waited = decisions.waited
    rejected = [
        (command.external_id, decision.reason, decision.detail)
        for command, decision in waited
        if isinstance(decision, Rejected)
    ]
    repeated = await waiting_commands.reject(conn, rejected)
    await waiting_commands.end(
        conn,
        [each.external_id for each, decision in waited if not isinstance(decision, Rejected)],
    )
    await waiting_commands.wait_on(
        conn, [(each.external_id, why.reason, why.detail) for each, why in decisions.wait_on]
    )
    await waiting_commands.keep(
        conn,
        [_row(placed, why) for placed, why in decisions.begin_to_wait],
        options.cluster_id,
        options.command_wait,
        silent=not options.publish,
    )
    return repeated


async def expire(conn: Connection, limit: int) -> list[tuple[str, Rejected]]:
    """Make dead letters of at most `limit` commands that have waited in vain.

    Return them, each beside what a metric calls the topic that it came by.
    """
    found = await waiting_commands.expired(conn, limit)
    letters = [
        Rejected(each.reason, f"{each.detail}; it waited for that in vain", each.document["type"])
        for each in found
    ]
    await waiting_commands.reject(
        conn,
        [
            (each.external_id, letter.reason, letter.detail)
            for each, letter in zip(found, letters, strict=True)
        ],
    )
    return [(_topic(each), letter) for each, letter in zip(found, letters, strict=True)]


def _placed(found: StoredCommand) -> PlacedCommand:
    command = msgspec.convert(found.document, BadgeCommand)
    return PlacedCommand(command, waits=_why(found), waited_from=_topic(found))


def _topic(found: StoredCommand) -> str:
    return topic_label(found.cluster_id, found.topic)


def _why(found: StoredCommand) -> Rejected:
    return Rejected(found.reason, found.detail, found.document["type"])


def _row(placed: PlacedCommand, why: Rejected) -> NewWaitingCommand:
    command, record = placed.command, placed.record_rejected(why)
    if record is None:
        raise ValueError("what a person asks for does not wait")
    return NewWaitingCommand(
        command.external_id, command.content_hash, command.user_id, command, record.dead_letter
    )

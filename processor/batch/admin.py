"""A command about a badge that a person gives on the command line.

Checked and carried out by the code that serves Kafka's.
"""

from uuid import UUID, uuid4

from ops.errors import Permanent, UsageError
from ops.settings import Settings
from processor.batch.pipeline import Pipeline, PipelineOptions
from processor.events.message_schema import ID_LENGTH_MAX
from processor.events.reader import BadgeCommand, content_hash
from store.engine import Database
from store.values import Actor, CommandType


class CommandRefused(Permanent):
    """The badge, or its state, does not allow it."""

    code = "command_refused"


async def apply(
    settings: Settings,
    kind: str,
    user_id: UUID,
    type_code: str,
    external_id: str | None,
    reason: str | None,
) -> dict[str, object]:
    """Carry out badge.mint, badge.burn or badge.revoke as `admin`; return what was done.

    Raises:
        CommandRefused: it cannot be carried out; the message says why.
        UsageError: `external_id` is no id.
    """
    chosen = external_id or f"admin-{uuid4()}"
    if len(chosen) > ID_LENGTH_MAX or "\x00" in chosen:
        raise UsageError(f"--external-id: an id has at most {ID_LENGTH_MAX} characters.")
    data = {"external_id": chosen, "type_code": type_code} | (
        {} if reason is None else {"reason": reason}
    )
    command = BadgeCommand(
        CommandType(kind),
        chosen,
        user_id,
        type_code,
        None,
        reason,
        content_hash(kind, user_id, data),
        Actor.ADMIN.value,
    )
    async with Database(settings.need("database_url"), settings.database) as db:
        pipeline = Pipeline(db, PipelineOptions.of(settings, cluster_id="admin"))
        await pipeline.load()
        refused = await pipeline.apply(command)
    if refused is not None:
        raise CommandRefused(
            f"{kind}: {refused.detail} ({refused.reason.value})", reason=refused.reason.value
        )
    return {"external_id": chosen, "type": kind, "user_id": str(user_id), "type_code": type_code}

"""A command about a badge that a person gives on the command line.

Checked and carried out by the code that serves Kafka's.
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

from ops.errors import Permanent, UsageError
from ops.settings import Settings
from processor.batch.options import PipelineOptions
from processor.batch.pipeline import Pipeline
from processor.events.message_schema import ID_LENGTH_MAX, TEXT_LENGTH_MAX
from processor.events.reader import BadgeCommand, content_hash
from store import migrations, user_badges
from store.engine import Database
from store.values.badges import Actor
from store.values.names import TypeCode
from store.values.stream import CommandType


class CommandRejected(Permanent):
    """The badge, or its state, does not allow it."""

    code = "command_rejected"


@dataclass(frozen=True, slots=True)
class BadgeRequest:
    """What a person asks for: a command about a user's badge of a type.

    `external_id` is the id that it is applied under once; None: a new one. `level` is badge.award's
    alone.
    """

    kind: str
    user_id: UUID
    type_code: str
    external_id: str | None = None
    reason: str | None = None
    level: int | None = None

    def command(self, tenant_id: UUID) -> BadgeCommand:
        """Return the request as the command that Kafka would bring, by `admin`.

        Args:
            tenant_id: of a badge that it makes.

        Raises:
            UsageError: `external_id` is no id, or `reason` no reason.
        """
        # Not `or`: an empty one is a script's mistake, and a new one would be applied once more.
        external_id = f"admin-{uuid4()}" if self.external_id is None else self.external_id
        if not 0 < len(external_id) <= ID_LENGTH_MAX or "\x00" in external_id:
            raise UsageError(f"--external-id: an id has 1 to {ID_LENGTH_MAX} characters.")
        if self.reason is not None and not 0 < len(self.reason) <= TEXT_LENGTH_MAX:
            raise UsageError(f"--reason: a reason has 1 to {TEXT_LENGTH_MAX} characters.")
        data: dict[str, object] = {"external_id": external_id, "type_code": self.type_code}
        data |= {
            name: value
            for name, value in (("reason", self.reason), ("level", self.level))
            if value is not None
        }
        return BadgeCommand(
            type=CommandType(self.kind),
            external_id=external_id,
            user_id=self.user_id,
            type_code=self.type_code,
            instance_id=None,
            reason=self.reason,
            content_hash=content_hash(self.kind, self.user_id, data),
            actor=Actor.ADMIN.value,
            tenant_id=tenant_id,
            level=self.level,
        )


async def apply(settings: Settings, request: BadgeRequest) -> dict[str, object]:
    """Carry out `request`; return what was done.

    Raises:
        CommandRejected: it cannot be carried out; the message says why.
        UsageError: its `external_id` is no id, or its `reason` no reason; or the database has
            another revision.
    """
    command = request.command(settings.tenant_id)
    async with Database(settings.need("database_url"), settings.database) as db:
        async with db.reading() as conn:
            await migrations.check(conn)
        pipeline = Pipeline(db, PipelineOptions.of(settings, cluster_id="admin"))
        await pipeline.load()
        rejected = await pipeline.apply(command)
        async with db.transaction() as conn:
            badge = await user_badges.standing(conn, request.user_id, TypeCode(request.type_code))
    if rejected is not None:
        reason = rejected.reason.value
        raise CommandRejected(f"{request.kind}: {rejected.detail} ({reason})", reason=reason)
    return {
        "external_id": command.external_id,
        "type": request.kind,
        "user_id": str(request.user_id),
        "type_code": request.type_code,
        "badge": badge,
    }

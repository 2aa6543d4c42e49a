"""What a batch decided, gathered as the sets that are written.

The rules decide (processor/rules/levels.py, onchain_policy.py and command_rules.py beside this
module); here their answers become rows: badges, audit, tasks for the chain, messages to publish.
Nothing here talks to the database.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never
from uuid import UUID

from processor.batch.command_rules import Accepted, Command
from processor.events.event import Event
from processor.events.reader import service_of
from processor.rules.badge_ids import FIRST_ORDINAL, instance_id
from processor.rules.levels import Award, LevelUp, TypeRules, Unchanged, evaluate
from processor.rules.onchain_policy import mints_by_itself
from store.counting import Progress
from store.instances import NewInstance, Provenance, RaisedInstance
from store.silenced_badges import Silenced
from store.values.badges import (
    Actor,
    AuditAction,
    AuditEntry,
    Instance,
    InstanceStatus,
    OnchainStatus,
)
from store.values.outbox import OutboxEntry, OutboxType


@dataclass(slots=True)
class Decisions:
    """The rows of a batch. Whether a mint must wait for a wallet is known when it is written.

    Args:
        now: the batch's clock, for the messages.
        publish: messages about badges go to the outbox; not where history is counted.
        mint: badges whose policy says so are minted by themselves; not where history is counted.
    """

    now: datetime
    publish: bool = True
    mint: bool = True
    # By their ids; a badge that is made and changed in one batch is made as it ends.
    new: dict[UUID, NewInstance] = field(default_factory=dict)
    higher: dict[UUID, RaisedInstance] = field(default_factory=dict)
    # badge -> whether it had an open mint before the batch
    revoked: dict[UUID, bool] = field(default_factory=dict)
    audit: list[AuditEntry] = field(default_factory=list)
    # badge -> user
    mints: dict[UUID, UUID] = field(default_factory=dict)
    burns: set[UUID] = field(default_factory=set)
    outbox: list[OutboxEntry] = field(default_factory=list)
    levels: Counter[tuple[str, int]] = field(default_factory=Counter)
    # What `publish` and `mint` have left out, by badge.
    left_out: dict[UUID, Silenced] = field(default_factory=dict)

    @property
    def created(self) -> list[NewInstance]:
        """Return the badges to create."""
        return list(self.new.values())

    @property
    def raised(self) -> list[RaisedInstance]:
        """Return the badges to raise that were there before."""
        return list(self.higher.values())

    @property
    def silenced(self) -> list[Silenced]:
        """Return what was left out, an entry a badge."""
        return list(self.left_out.values())

    def take_level(
        self,
        rules: TypeRules,
        progress: Progress,
        instance: Instance | None,
        provenance: Provenance,
    ) -> Instance | None:
        """Evaluate one user's counters; return the badge as it is afterwards.

        Args:
            rules: the type.
            progress: the counters that the batch commits.
            instance: the user's badge, under its lock.
            provenance: what the badge names as its source.
        """
        decision = evaluate(rules, progress.counters, instance)
        if isinstance(decision, Unchanged):
            return instance
        return self.take(rules, progress.user_id, decision, instance, provenance)

    def take(
        self,
        rules: TypeRules,
        user_id: UUID,
        decision: Award | LevelUp,
        instance: Instance | None,
        provenance: Provenance,
    ) -> Instance:
        """Gather what a level asks for; return the badge as it is afterwards.

        Args:
            rules: the type.
            user_id: whose badge.
            decision: what `evaluate` says of the counters that the batch commits.
            instance: the user's badge, under its lock.
            provenance: what the badge names as its source.
        """
        match decision:
            case Award():
                made = NewInstance(
                    instance_id(user_id, rules.spec.code, FIRST_ORDINAL),
                    rules.spec.id,
                    user_id,
                    FIRST_ORDINAL,
                    decision.level.level,
                    decision.metadata,
                    provenance,
                )
                self.new[made.id] = made
                after = Instance(
                    made.id,
                    made.type_id,
                    made.user_id,
                    provenance.tenant_id,
                    made.level,
                    InstanceStatus.ACTIVE,
                    OnchainStatus.NOT_MINTED,
                    None,
                    made.ordinal,
                )
                self._take_earned(after, rules, decision, provenance)
                return after
            case LevelUp() if instance is not None:
                after = replace(instance, current_level=decision.level.level)
                self._raise(after, decision, provenance)
                self._take_earned(after, rules, decision, provenance)
                return after
            case LevelUp():
                raise ValueError("a badge that does not exist cannot rise")
            case unreachable:
                assert_never(unreachable)

    def end_silence(self, instance: Instance, rules: TypeRules, silenced: Silenced) -> None:
        """Say of a badge, as it is, what a silent job has left out, and mint it.

        One message, with the level that it has by now: what came since is not said again.
        """
        if silenced.message is not None:
            self._publish(instance, rules, instance.current_level, silenced.message, {})
        if silenced.mint:
            self._mint(instance)

    def say_revoked(self, instance: Instance, rules: TypeRules, reason: str | None) -> None:
        """Say of a badge, which a silent job has revoked, that it was."""
        level = instance.current_level
        self._publish(instance, rules, level, OutboxType.BADGE_REVOKED, {"reason": reason})

    def take_command(self, command: Command, rules: TypeRules, decision: Accepted) -> None:
        """Gather what a command that is carried out asks for."""
        instance = decision.badge.instance
        if decision.award is not None:
            self._take_award(command, instance, rules, decision.award)
        if decision.mint:
            self.mints[instance.id] = instance.user_id
        if decision.burn:
            self.burns.add(instance.id)
        if decision.revoke:
            self.revoked[instance.id] = decision.badge.mint_stored
            if instance.id in self.new:
                self.new[instance.id] = replace(self.new[instance.id], status=instance.status)
            self.mints.pop(instance.id, None)
            if not decision.badge.token.burn_open:
                # Asked for earlier in the batch, of a token that will not be.
                self.burns.discard(instance.id)
            details = {"reason": command.reason, "external_id": command.external_id}
            self.audit.append(AuditEntry(instance.id, AuditAction.REVOKED, command.actor, details))
            self.say_revoked(instance, rules, command.reason)

    def _take_award(
        self, command: Command, instance: Instance, rules: TypeRules, decision: Award | LevelUp
    ) -> None:
        provenance = Provenance(command.actor, command.event_id, command.tenant_id)
        if isinstance(decision, Award):
            self.new[instance.id] = NewInstance(
                instance.id,
                instance.type_id,
                instance.user_id,
                instance.ordinal,
                decision.level.level,
                decision.metadata,
                provenance,
                external_id=command.external_id,
            )
        else:
            self._raise(instance, decision, provenance)
        details: dict[str, object] = {"external_id": command.external_id}
        if command.reason is not None:
            details["reason"] = command.reason
        self._note_levels(instance, rules, decision, provenance, command.actor, details)
        self._note_silence(instance, rules, decision)

    def _take_earned(
        self, instance: Instance, rules: TypeRules, decision: Award | LevelUp, source: Provenance
    ) -> None:
        self._note_levels(instance, rules, decision, source, Actor.SYSTEM.value, {})
        if self.mint and mints_by_itself(rules.spec, decision.passed):
            self._mint(instance)
        self._note_silence(instance, rules, decision)

    def _note_silence(
        self, instance: Instance, rules: TypeRules, decision: Award | LevelUp
    ) -> None:
        unsaid = None if self.publish else _message_of(decision)
        unminted = not self.mint and mints_by_itself(rules.spec, decision.passed)
        if unsaid is None and not unminted:
            return
        # A badge that is made in silence and raised in silence is still news.
        before = self.left_out.get(instance.id, Silenced(instance.id, None, mint=False))
        self.left_out[instance.id] = Silenced(
            instance.id, before.message or unsaid, before.mint or unminted
        )

    def _raise(self, instance: Instance, decision: LevelUp, provenance: Provenance) -> None:
        level, made = decision.level.level, self.new.get(instance.id)
        if made is None:
            self.higher[instance.id] = RaisedInstance(
                instance.id, level, decision.metadata, provenance
            )
        else:
            self.new[instance.id] = replace(
                made,
                level=level,
                metadata=decision.metadata,
                provenance=replace(provenance, tenant_id=made.provenance.tenant_id),
            )

    def _note_levels(
        self,
        instance: Instance,
        rules: TypeRules,
        decision: Award | LevelUp,
        provenance: Provenance,
        actor: str,
        more: Mapping[str, object],
    ) -> None:
        is_new = isinstance(decision, Award)
        for place, level in enumerate(decision.passed):
            action = AuditAction.CREATED if is_new and place == 0 else AuditAction.LEVEL_UP
            details = {
                "level": level.level,
                "source_service": provenance.source_service,
                "source_event_id": provenance.source_event_id,
                **more,
            }
            self.audit.append(AuditEntry(instance.id, action, actor, details))
        self.levels[rules.spec.code, instance.current_level] += 1
        self._publish(instance, rules, instance.current_level, _message_of(decision), {})

    def _mint(self, instance: Instance) -> None:
        if instance.onchain_status is OnchainStatus.NOT_MINTED:
            self.mints[instance.id] = instance.user_id

    def _publish(
        self,
        instance: Instance,
        rules: TypeRules,
        level: int,
        message: OutboxType,
        more: Mapping[str, object],
    ) -> None:
        if not self.publish:
            return
        payload = {
            "instance_id": str(instance.id),
            "type_code": rules.spec.code,
            "level": level,
            "user_id": str(instance.user_id),
            **more,
        }
        self.outbox.append(
            OutboxEntry(instance.user_id, instance.tenant_id, message, payload, self.now)
        )


def _message_of(decision: Award | LevelUp) -> OutboxType:
    is_new = isinstance(decision, Award)
    return OutboxType.BADGE_CREATED if is_new else OutboxType.BADGE_LEVELED_UP


def provenance_of(event: Event) -> Provenance:
    """Return what a badge that `event` changed says about its source."""
    return Provenance(service_of(event.source), event.id, event.tenant_id)

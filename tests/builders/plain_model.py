"""What must come of batches, by docs/data-model.md alone: counted the slow and obvious way, in plain
data, with nothing of Laurel's own code.

It is told the transactions in the order in which they were committed (tests/builders/commit_order.py)
and holds every row that they must leave. Who is touched by an event is evaluated, always: that is
what a statement that looks for the few who need it is held against.

One thing it has to be told: a level that somebody reached before a batch, and does not have (a
catalog brought it, or the badge was awarded below it), may be given by that batch or later. `late`
says which; everything else follows.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any
from uuid import UUID

from tests.builders.plain_rules import (
    Amount,
    Badge,
    Command,
    Holder,
    Level,
    Message,
    Part,
    Row,
    Rules,
    Run,
    Seen,
    Source,
    event_key,
    holds,
    passes,
    service_of,
    time_of,
)

_URN = uuid.uuid5(uuid.NAMESPACE_URL, "urn:laurel:nft_instance")


class Model:
    """Every row that the transactions must leave.

    Args:
        tenant: of a message that names none, and of what a catalog gives.
        wallets: the users who have one.
        late: of a badge's id, a level, and an event's service and id: that event's batch gave a
            level that was reached before.
    """

    def __init__(
        self,
        tenant: UUID,
        wallets: Iterable[UUID],
        late: Callable[[UUID, int, str, str | None], bool],
    ) -> None:
        self.rules = Rules({}, {})
        self.version = 0
        self.rows: dict[Holder, Row] = {}
        self.badges: dict[Holder, list[Badge]] = defaultdict(list)
        self.seen: dict[UUID, Seen] = {}
        self.members: dict[tuple[UUID, str, str], tuple[bool, bool]] = {}
        self.said: dict[UUID, list[tuple[str, UUID, dict[str, Any]]]] = defaultdict(list)
        self.dead: list[tuple[str, str]] = []
        self._amounts: dict[tuple[UUID, str], Amount] = {}
        self._tenant = tenant
        self._wallets = set(wallets)
        self._late = late

    # ---- batches

    def take(self, messages: Sequence[Message], run: Run) -> None:
        """Count a batch; of several messages with one identity the first counts."""
        fresh, heard = self._sorted_out(messages, run)
        self._say(heard, run)
        before = {
            holder: self.counters(holder)
            for each in fresh
            for holder in self._holders(each, self._parts(each))
        }
        for each in fresh:
            self._add(each)
        sources: dict[Holder, list[Message]] = defaultdict(list)
        for each in fresh:
            for holder in self._holders(each, self._parts(each)):
                sources[holder].append(each)
        for holder in sorted(sources, key=lambda each: (each[0], self.rules.types[each[1]].id)):
            latest = max(
                sources[holder], key=lambda each: (time_of(each), each["source"], each["id"])
            )
            source = Source(service_of(latest["source"]), latest["id"], self._tenant_of(latest))
            self._evaluate(holder, before[holder], source, run)

    def _sorted_out(
        self, messages: Sequence[Message], run: Run
    ) -> tuple[list[Message], list[Message]]:
        """Return what is new, and what a silent run had counted and the stream brings now."""
        fresh: list[Message] = []
        heard: dict[UUID, Message] = {}
        firsts = dict[UUID, tuple[str, UUID]]()
        for each in messages:
            key = event_key(self._tenant_of(each), each["source"], each["id"])
            listened = self._is_heard(each["type"])
            seen, identity = self.seen.get(key), (each["type"], UUID(each["subject"]))
            # What no counter listened to is new where a batch brings it first under its id.
            first = firsts.setdefault(key, identity)
            if seen is not None and (seen.type, seen.subject) != identity:
                self.dead.append(("event_id_conflict", each["id"]))
            elif seen is None or (seen.version == 0 and listened and first == identity):
                version = self.version if listened else 0
                day = time_of(each).date()
                self.seen[key] = Seen(*identity, version, day, run.silent)
                if listened:
                    fresh.append(each)
            elif seen.silent and not run.silent:
                seen.silent = False
                heard[key] = each
        return fresh, list(heard.values())

    def _tenant_of(self, message: Message) -> UUID:
        return UUID(message["tenantid"]) if "tenantid" in message else self._tenant

    def _is_heard(self, kind: str) -> bool:
        return any(kind in (each.event, each.undo) for each in self.rules.counters.values())

    def _parts(self, message: Message) -> list[Part]:
        kind, data = message["type"], message["data"]
        found = []
        for name, counter in self.rules.counters.items():
            if counter.undo == kind:
                found.append(Part(name, member=data[counter.field], undone=True))
            if counter.event != kind or not passes(counter.filter, data):
                continue
            if counter.field is None:
                found.append(Part(name, amount=1))
            elif data.get(counter.field) is not None:
                value = data[counter.field]
                is_number = counter.kind in ("sum", "max")
                found.append(Part(name, amount=value) if is_number else Part(name, member=value))
        return found

    def _holders(self, message: Message, parts: Iterable[Part]) -> list[Holder]:
        names = {each.counter for each in parts}
        user = UUID(message["subject"])
        return [
            (user, code) for code, each in self.rules.types.items() if names & set(each.counters)
        ]

    def _add(self, message: Message) -> None:
        user, at, parts = UUID(message["subject"]), time_of(message), self._parts(message)
        for part in parts:
            self._add_part(user, part)
        names = {each.counter for each in parts}
        for holder in self._holders(message, parts):
            row = self.rows.setdefault(holder, Row(set(), at))
            row.names |= names & set(self.rules.types[holder[1]].counters)
            row.last_event_at = max(row.last_event_at, at)

    def _add_part(self, user: UUID, part: Part) -> None:
        key = user, part.counter
        if part.member is not None:
            posted, undone = self.members.get((user, part.counter, part.member), (False, False))
            self.members[user, part.counter, part.member] = (
                posted or not part.undone,
                undone or part.undone,
            )
        elif part.amount is not None and self.rules.counters[part.counter].kind == "max":
            self._amounts[key] = max(self._amounts.get(key, part.amount), part.amount)
        elif part.amount is not None:
            self._amounts[key] = Fraction(self._amounts.get(key, 0)) + Fraction(part.amount)

    # ---- counters

    def counters(self, holder: Holder) -> dict[str, Amount]:
        """Return what the row of a user and type shows."""
        row = self.rows.get(holder)
        return {} if row is None else {name: self._value(holder[0], name) for name in row.names}

    def _value(self, user: UUID, name: str) -> Amount:
        if self.rules.counters[name].kind == "distinct" or self.rules.counters[name].undo:
            return sum(
                posted and not undone
                for (who, counter, _), (posted, undone) in self.members.items()
                if (who, counter) == (user, name)
            )
        return self._amounts.get((user, name), 0)

    # ---- levels

    def _reached(self, holder: Holder, counters: Mapping[str, Amount]) -> list[Level]:
        """Return the levels above the badge's whose conditions hold; none of one that ended."""
        held = self.badges[holder]
        if held and held[-1].status != "active":
            return []
        least = held[-1].level if held else 0
        levels = self.rules.types[holder[1]].levels
        return [each for each in levels if each.level > least and holds(each.conditions, counters)]

    def _evaluate(
        self, holder: Holder, before: Mapping[str, Amount], source: Source, run: Run
    ) -> None:
        passed, old = (
            self._reached(holder, self.counters(holder)),
            self._reached(holder, before),
        )
        if not passed:
            return
        if old and old[-1].level >= passed[-1].level:
            badge_id = self._id_of(holder, max(1, len(self.badges[holder])))
            if not self._late(badge_id, passed[-1].level, source.service, source.event_id):
                return
        self.give(holder, passed, source, run)

    def give(
        self, holder: Holder, passed: Sequence[Level], source: Source, run: Run, **more: str
    ) -> None:
        """Make a badge, or raise the one there is, to the last of the passed levels.

        `more` is what a command adds to the audit log, and its external_id to a badge it makes.
        """
        (user, code), level = holder, passed[-1].level
        badge_type, held = self.rules.types[code], self.badges[holder]
        shown = self._metadata(holder, level)
        if held and held[-1].status == "active":
            badge, message, actions = held[-1], "badge.leveled_up", ["level_up"] * len(passed)
            badge.level, badge.metadata, badge.source = level, shown, source
        else:
            number = self._id_of(holder, len(held) + 1)
            badge = Badge(number, level, shown, source, source.tenant, more.get("external_id"))
            message, actions = "badge.created", ["created"] + ["level_up"] * (len(passed) - 1)
            held.append(badge)
        for action, each in zip(actions, passed, strict=True):
            details = {
                "level": each.level,
                "source_service": source.service,
                "source_event_id": source.event_id,
                **more,
            }
            badge.audit.append((action, source.actor, details))
        wanted = badge_type.mints(passed)
        if wanted and run.mint:
            self._mint(user, badge)
        if run.publish:
            self._publish(holder, badge, message)
        unsaid, unminted = None if run.publish else message, wanted and not run.mint
        if unsaid or unminted:
            said_before, minted_before = badge.unsaid or (None, False)
            badge.unsaid = (said_before or unsaid, minted_before or unminted)

    def _metadata(self, holder: Holder, level: int) -> dict[str, Any]:
        counters = self.counters(holder)
        mapped = self.rules.types[holder[1]].metadata
        return {"level": level} | {each: counters.get(name, 0) for each, name in mapped.items()}

    def _id_of(self, holder: Holder, ordinal: int) -> UUID:
        return uuid.uuid5(_URN, f"{holder[0]}/{holder[1]}/{ordinal}")

    def _mint(self, user: UUID, badge: Badge) -> None:
        if badge.onchain == "not_minted" and badge.task is None:
            badge.task = ("pending", None if user in self._wallets else "no_wallet")
            badge.onchain = "pending" if user in self._wallets else "not_minted"

    def _publish(self, holder: Holder, badge: Badge, message: str, **more: str | None) -> None:
        payload = {
            "instance_id": str(badge.id),
            "type_code": holder[1],
            "level": badge.level,
            "user_id": str(holder[0]),
            **more,
        }
        self.said[holder[0]].append((message, badge.tenant, payload))

    def _say(self, heard: Iterable[Message], run: Run) -> None:
        """Say what was left out about the badges that events count for which the stream brings."""
        holders = {holder for each in heard for holder in self._holders(each, self._parts(each))}
        badges = [(self.badges[each][-1], each) for each in holders if self.badges[each]]
        for badge, holder in sorted(badges, key=lambda each: each[0].id):
            if badge.status != "active" or badge.unsaid is None:
                continue
            message, mint = badge.unsaid
            if message is not None:
                self._publish(holder, badge, message)
            if mint:
                self._mint(holder[0], badge)
            badge.unsaid = None

    # ---- commands

    def carry_out(self, command: Command) -> None:
        """Do what a person asked for."""
        holder = command.user, command.code
        if command.kind == "badge.revoke":
            badge = self.badges[holder][-1]
            if badge.status == "active":
                self._revoke(holder, badge, command)
            return
        levels, held = self.rules.types[command.code].levels, self.badges[holder]
        least = held[-1].level if held and held[-1].status == "active" else 0
        counters = self.counters(holder)
        reached = [each.level for each in levels if holds(each.conditions, counters)]
        wanted = command.level or max(reached, default=levels[0].level)
        passed = [
            each
            for each in levels
            if least < each.level <= wanted and (each.level in reached or each.level == wanted)
        ]
        if passed:
            more = {"external_id": command.external_id}
            if command.reason is not None:
                more["reason"] = command.reason
            self.give(holder, passed, Source("admin", None, self._tenant, "admin"), Run(), **more)

    def _revoke(self, holder: Holder, badge: Badge, command: Command) -> None:
        badge.status = "revoked"
        if badge.task is not None:
            badge.task = ("failed", None)
        if badge.onchain == "pending":
            badge.onchain = "failed"
        details = {"reason": command.reason, "external_id": command.external_id}
        badge.audit.append(("revoked", "admin", details))
        self._publish(holder, badge, "badge.revoked", reason=command.reason)

    # ---- catalogs

    def adopt(self, taken: Mapping[Holder, Sequence[tuple[str, Holder, bool]]]) -> None:
        """Take over counters: for each row the names, from which row, and whether they leave that."""
        before = {holder: replace(row, names=set(row.names)) for holder, row in self.rows.items()}
        for holder, listed in taken.items():
            found = [
                (name, before[source])
                for name, source, _ in listed
                if source in before and name in before[source].names
            ]
            if not found:
                continue
            names = {name for name, _ in found}
            latest = max(source.last_event_at for _, source in found)
            row = self.rows.get(holder)
            if row is None:
                self.rows[holder] = Row(names, latest)
            elif not names <= row.names or any(moves for _, _, moves in listed):
                row.names |= names
                row.last_event_at = max(row.last_event_at, latest)

    def drop(self, holder: Holder, names: Iterable[str]) -> None:
        """Take counters out of a row that its type uses no more."""
        if holder in self.rows:
            self.rows[holder].names -= set(names)

    def evaluate_again(self, holder: Holder, run: Run) -> None:
        """Give what a catalog brings."""
        if holder in self.rows:
            passed = self._reached(holder, self.counters(holder))
            if passed:
                self.give(holder, passed, Source("system", None, self._tenant), run)

    def rewrite(self, holder: Holder, badge: Badge, version: int) -> None:
        """Give an active badge the metadata of the rules."""
        fresh = self._metadata(holder, badge.level)
        if badge.status == "active" and fresh != badge.metadata:
            badge.metadata = fresh
            badge.audit.append(("metadata_updated", "admin", {"catalog_version": version}))

    def put_in_force(self, rules: Rules, version: int) -> None:
        self.rules, self.version = rules, version

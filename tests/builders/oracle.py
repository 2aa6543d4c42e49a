"""What must come of a history of messages, by docs/data-model.md alone: counted the slow and obvious
way, in plain data, with nothing of Laurel's own code.

Batches come one after the other here: what batches at once may do to each other is
tests/chaos/test_counting_storm.py's.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

Message = dict[str, Any]

_TOLERANCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Level:
    """What reaches it, by counter, and whether it mints by itself."""

    level: int
    atleast: Mapping[str, int]
    auto_mint: bool = False


@dataclass(frozen=True)
class BadgeType:
    """Levels from the lowest on; `policy` as in the catalog."""

    levels: Sequence[Level]
    policy: str = "always"

    @property
    def counters(self) -> set[str]:
        """Return the names of its counters."""
        return {name for level in self.levels for name in level.atleast}


@dataclass(frozen=True)
class Counted:
    """A counter: `field` makes it one of different ids, `undo` pairs two event types by it."""

    event: str
    field: str | None = None
    undo: str | None = None


@dataclass(frozen=True)
class Rules:
    """A catalog."""

    counters: Mapping[str, Counted]
    types: Mapping[str, BadgeType]


@dataclass(frozen=True)
class Run:
    """How messages come: at which time, and whether others hear of it."""

    now: datetime
    record_time: datetime
    publish: bool = True
    mint: bool = True

    @property
    def silent(self) -> bool:
        """Return whether it leaves something unsaid."""
        return not (self.publish and self.mint)


@dataclass
class Badge:
    """One badge; `mint` and `burn` are open tasks, the others what silent runs left unsaid."""

    level: int
    tenant: str
    status: str = "active"
    mint: bool = False
    burn: bool = False
    unsaid: str | None = None
    unminted: bool = False


@dataclass
class _Seen:
    type: str
    subject: str
    heard: bool
    silent: bool
    day: date


@dataclass
class _Waiting:
    content: str
    message: Message
    publish: bool


@dataclass
class _Events:
    """Of a batch: what is new, what is not, and what of that a silent run had counted."""

    fresh: list[Message] = field(default_factory=list)
    repeated: list[Message] = field(default_factory=list)
    heard: list[Message] = field(default_factory=list)


@dataclass
class Oracle:
    """Takes what happens, and says what the database must hold.

    `dead` counts dead letters by reason and the message's id, `applied` has the content of commands
    by external id, `said` the messages of each user.
    """

    rules: Rules
    tenant: str
    floor: date = date.min
    dead: Counter[tuple[str, str]] = field(default_factory=Counter)
    applied: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    badges: dict[tuple[str, str], list[Badge]] = field(default_factory=lambda: defaultdict(list))
    said: dict[str, list[tuple[str, str, int]]] = field(default_factory=lambda: defaultdict(list))
    ids: dict[tuple[str, str, str], _Seen] = field(default_factory=dict)
    _plain: Counter[tuple[str, str]] = field(default_factory=Counter)
    _members: dict[tuple[str, str], dict[str, set[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    _touched: set[tuple[str, str]] = field(default_factory=set)
    # What silent commands left unsaid, by external id.
    _quiet: dict[str, tuple[str, str, Badge]] = field(default_factory=dict)

    # ---- what happens

    def take(self, messages: Iterable[Message], run: Run) -> None:
        """Count a batch: events first, then commands in their order."""
        commands: list[Message] = []
        events = _Events()
        latest = max(run.now, run.record_time) + _TOLERANCE
        for message in messages:
            if datetime.fromisoformat(message["time"]) > latest:
                self.dead["too_new", message["id"]] += 1
            elif message["type"].startswith("badge."):
                commands.append(message)
            else:
                self._event(message, run, events)
        if not run.silent:
            self._end_silence(events.heard, commands)
        self._raise(events.fresh, run)
        users = {each["subject"] for each in (*events.fresh, *events.repeated, *commands)}
        if run.publish:
            for each in commands:
                waits = self.waiting.get(_external_id(each))
                if waits is not None and waits.content == _content(each):
                    waits.publish = True
        self._try_again(users, run)
        for each in commands:
            self._command(each, run)
        self._try_again(users, run)

    def sweep(self, now: datetime) -> None:
        """Decide what waits, each as the run that left it."""
        for waits in list(self.waiting.values()):
            run = Run(now, now, publish=waits.publish, mint=waits.publish)
            if _external_id(waits.message) in self.waiting:
                self._decide(waits.message, run)

    def expire(self) -> None:
        """End what has waited in vain."""
        for waits in self.waiting.values():
            held = self._latest(waits.message)
            reason = "no_such_badge" if held is None else "no_token"
            self.dead[reason, waits.message["id"]] += 1
        self.waiting.clear()

    def apply(self, rules: Rules, run: Run) -> None:
        """Put other rules in force."""
        self.rules = rules
        for user in {user for _, user in self._touched}:
            touched = {name for name, who in self._touched if who == user}
            for code in self._types_of(touched):
                self._evaluate(user, code, self.tenant, run)

    def announce(self, user: str) -> None:
        """Say what silent runs left unsaid of a user's badges."""
        for (who, code), held in self.badges.items():
            for badge in held[-1:] if who == user else ():
                self._unsilence(who, code, badge)

    def forget(self, floor: date) -> None:
        """Forget the ids of events before `floor`."""
        self.floor = floor
        self.ids = {key: seen for key, seen in self.ids.items() if seen.day >= floor}

    # ---- what comes of it

    def counters(self) -> dict[tuple[str, str], int]:
        """Return the counters by name and user."""
        return {(name, user): self._value(name, user) for name, user in self._touched}

    # ---- events

    def _event(self, message: Message, run: Run, events: _Events) -> None:
        day = datetime.fromisoformat(message["time"]).astimezone(UTC).date()
        if day < self.floor:
            self.dead["too_old", message["id"]] += 1
            return
        key = (message.get("tenantid", self.tenant), message["source"], message["id"])
        seen, heard = self.ids.get(key), self._listening(message["type"])
        if seen is not None and (seen.type, seen.subject) != (message["type"], message["subject"]):
            self.dead["event_id_conflict", message["id"]] += 1
        elif seen is not None and (seen.heard or not heard):
            events.repeated.append(message)
            if seen.silent:
                events.heard.append(message)
            seen.silent &= run.silent
        else:
            self.ids[key] = _Seen(message["type"], message["subject"], bool(heard), run.silent, day)
            self._add(message, heard)
            events.fresh.append(message)

    def _listening(self, kind: str) -> set[str]:
        return {
            name for name, each in self.rules.counters.items() if kind in (each.event, each.undo)
        }

    def _add(self, message: Message, heard: Iterable[str]) -> None:
        user = message["subject"]
        for name in heard:
            self._touched.add((name, user))
            counter = self.rules.counters[name]
            if counter.field is None:
                self._plain[name, user] += 1
            else:
                self._members[name, user][message["data"][counter.field]].add(message["type"])

    def _value(self, name: str, user: str) -> int:
        counter = self.rules.counters[name]
        if counter.field is None:
            return self._plain[name, user]
        return sum(kinds == {counter.event} for kinds in self._members[name, user].values())

    # ---- levels

    def _types_of(self, counters: Iterable[str]) -> list[str]:
        return [code for code, each in self.rules.types.items() if each.counters & set(counters)]

    def _holds(self, level: Level, user: str) -> bool:
        return all(self._value(name, user) >= least for name, least in level.atleast.items())

    def _raise(self, fresh: Sequence[Message], run: Run) -> None:
        for user in {each["subject"] for each in fresh}:
            mine = [each for each in fresh if each["subject"] == user]
            touched = {name for each in mine for name in self._listening(each["type"])}
            for code in self._types_of(touched):
                source = max(
                    (
                        each
                        for each in mine
                        if self._listening(each["type"]) & self.rules.types[code].counters
                    ),
                    key=lambda each: (
                        datetime.fromisoformat(each["time"]),
                        each["source"],
                        each["id"],
                    ),
                )
                self._evaluate(user, code, source.get("tenantid", self.tenant), run)

    def _evaluate(self, user: str, code: str, tenant: str, run: Run) -> None:
        held = self.badges[user, code]
        if held and held[-1].status != "active":
            return
        old = held[-1].level if held else 0
        passed = [
            each
            for each in self.rules.types[code].levels
            if each.level > old and self._holds(each, user)
        ]
        if passed:
            self._rise(user, code, passed, tenant, run)

    def _rise(self, user: str, code: str, passed: Sequence[Level], tenant: str, run: Run) -> None:
        """Make a badge, or raise the one there is, to the highest of the passed levels."""
        held, level = self.badges[user, code], passed[-1].level
        if held and held[-1].status == "active":
            kind, badge = "badge.leveled_up", held[-1]
            badge.level = level
        else:
            kind, badge = "badge.created", Badge(level, tenant)
            held.append(badge)
        wanted = self.rules.types[code].policy == "always" and any(
            each.auto_mint for each in passed
        )
        if run.publish:
            self.said[user].append((kind, code, level))
        else:
            badge.unsaid = badge.unsaid or kind
        badge.mint |= wanted and run.mint
        badge.unminted |= wanted and not run.mint

    def _end_silence(self, heard: Iterable[Message], commands: Iterable[Message]) -> None:
        for each in heard:
            for code in self._types_of(self._listening(each["type"])):
                for badge in self.badges[each["subject"], code][-1:]:
                    self._unsilence(each["subject"], code, badge)
        for each in commands:
            external_id = _external_id(each)
            if self.applied.get(external_id) == _content(each) and external_id in self._quiet:
                kind, code, badge = self._quiet.pop(external_id)
                if kind == "badge.award":
                    self._unsilence(each["subject"], code, badge)
                else:
                    self.said[each["subject"]].append(("badge.revoked", code, badge.level))

    def _unsilence(self, user: str, code: str, badge: Badge) -> None:
        if badge.status != "active":
            return
        if badge.unsaid is not None:
            self.said[user].append((badge.unsaid, code, badge.level))
        badge.mint |= badge.unminted
        badge.unsaid, badge.unminted = None, False

    # ---- commands

    def _latest(self, message: Message) -> Badge | None:
        held = self.badges[message["subject"], message["data"]["type_code"]]
        return held[-1] if held else None

    def _try_again(self, users: set[str], run: Run) -> None:
        changed = True
        while changed:
            due = (
                each
                for each in self.waiting.values()
                if each.message["subject"] in users and each.publish == run.publish
            )
            changed = any(self._decide(each.message, run) for each in list(due))

    def _command(self, message: Message, run: Run) -> None:
        external_id, content = _external_id(message), _content(message)
        known = self.applied.get(external_id)
        if known is None and external_id in self.waiting:
            known = self.waiting[external_id].content
        if known is None:
            if self._decide(message, run):
                self._try_again({message["subject"]}, run)
        elif known != content:
            self.dead["external_id_conflict", message["id"]] += 1

    def _decide(self, message: Message, run: Run) -> bool:
        """Carry out a command, reject it or let it wait; return whether it ended."""
        external_id, kind = _external_id(message), message["type"]
        reason = self._carry_out(message, run)
        if reason in ("no_such_badge", "no_token"):
            self.waiting.setdefault(external_id, _Waiting(_content(message), message, run.publish))
            return False
        self.waiting.pop(external_id, None)
        if reason is not None:
            self.dead[reason, message["id"]] += 1
            return True
        self.applied[external_id] = _content(message)
        badge = self._latest(message)
        if badge is not None and kind == "badge.award" and run.silent:
            self._quiet[external_id] = (kind, message["data"]["type_code"], badge)
        return True

    def _carry_out(self, message: Message, run: Run) -> str | None:
        """Return why not, where it is not."""
        user, code = message["subject"], message["data"]["type_code"]
        if code not in self.rules.types:
            return "unknown_badge_type"
        if message["type"] == "badge.award":
            return self._award(message, run)
        badge = self._latest(message)
        if badge is None:
            return "no_such_badge"
        if message["type"] == "badge.revoke":
            if badge.status == "active":
                badge.status, badge.mint, badge.burn = "revoked", False, False
                if run.publish:
                    self.said[user].append(("badge.revoked", code, badge.level))
                else:
                    self._quiet[_external_id(message)] = (message["type"], code, badge)
            return None
        if badge.status != "active":
            return "not_active"
        if message["type"] == "badge.mint":
            if self.rules.types[code].policy == "never":
                return "policy_rejected"
            badge.mint = True
            return None
        badge.burn |= badge.mint
        return None if badge.mint else "no_token"

    def _award(self, message: Message, run: Run) -> str | None:
        user, code = message["subject"], message["data"]["type_code"]
        levels, badge = self.rules.types[code].levels, self._latest(message)
        reached = [each.level for each in levels if self._holds(each, user)]
        wanted = message["data"].get("level") or max(reached, default=levels[0].level)
        if wanted not in [each.level for each in levels]:
            return "unknown_level"
        old = badge.level if badge is not None and badge.status == "active" else 0
        passed = [
            each
            for each in levels
            if old < each.level <= wanted and (each.level == wanted or self._holds(each, user))
        ]
        if passed:
            self._rise(user, code, passed, message.get("tenantid", self.tenant), run)
        return None


def _external_id(message: Message) -> str:
    return str(message["data"]["external_id"])


def _content(message: Message) -> str:
    return json.dumps([message["type"], message["subject"], message["data"]], sort_keys=True)

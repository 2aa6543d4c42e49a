"""Compute the outcome to expect of a file of messages, by other code than Laurel's own.

It reads the messages phase by phase, counts them in dictionaries, and asks the catalog's YAML for
levels. It can be exact since the file holds nothing whose outcome depends on batches or on the
minter's pace (demo/events/generator.py); what it cannot be exact about it refuses.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby

from demo import wallets
from demo.cloudevents import Event
from demo.oracle.catalog import Badges, holds
from demo.oracle.counting import Counters, count_up, latest_times
from demo.oracle.decode import Rejected, read_event
from demo.records import Record
from ops.clock import SYSTEM_CLOCK
from ops.errors import UsageError

# User, type code.
Holder = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ExpectedBadge:
    """One badge as it must be. `status` in the seed's words.

    `owner` is the raw address whose token it is, None without a token.
    """

    level: int
    status: str = "active"
    owner: str | None = None
    burned: bool = False
    # A token was asked for, by a level or by the user.
    wanted: bool = False
    # Levels below that were never passed, since a higher one was awarded by hand.
    skipped: int = 0


@dataclass(frozen=True, slots=True, order=True)
class DeadLetter:
    """A dead letter.

    Where it was sent, why it is dead, and SHA-256 over its value (of nothing, for a null).
    """

    topic: str
    reason: str
    digest: str


@dataclass(frozen=True)
class ExpectedOutcome:
    """The outcome. `counters` hold no zeros.

    `latest` is when the latest counted event of a user's progress happened.
    """

    messages: int
    events: int
    duplicates: int
    letters: Counter[DeadLetter]
    counters: Mapping[str, Counters]
    latest: Mapping[Holder, datetime]
    badges: Mapping[Holder, ExpectedBadge]
    repeated_commands: int
    links: Mapping[str, str] = field(default_factory=dict)
    # External ids of the commands whose badge or token has not come.
    waiting: frozenset[str] = frozenset()

    @property
    def tokens(self) -> dict[Holder, ExpectedBadge]:
        """Return the badges that have exactly one token, burned ones included."""
        return {holder: badge for holder, badge in self.badges.items() if badge.owner is not None}

    @property
    def active_tokens(self) -> set[Holder]:
        """Return the badges whose token nobody took back."""
        return {
            holder
            for holder, badge in self.tokens.items()
            if badge.status == "active" and not badge.burned
        }


def digest(value: bytes | None) -> str:
    """Return SHA-256 over a message's value, in hex."""
    return hashlib.sha256(value or b"").hexdigest()


def expected_outcome(
    records: Iterable[Record], badges: Badges, now: datetime | None = None
) -> ExpectedOutcome:
    """Return what `records`, sent in phases, must come to.

    Args:
        records: in the order of their sending, phases rising.
        badges: the catalog.
        now: the reader's clock (for events that are too new); the host's unless given.

    Raises:
        UsageError: the outcome of a burn or a revocation depends on the minter's pace.
    """
    oracle = Oracle(badges, now or SYSTEM_CLOCK.now())
    for _phase, some in groupby(records, key=lambda record: record.phase):
        oracle.read_phase(some)
    return oracle.outcome()


class Oracle:
    """Computes the outcome phase by phase; `expected_outcome` does all of them at once."""

    def __init__(self, badges: Badges, now: datetime) -> None:
        self._catalog = badges
        self._now = now
        self._messages = 0
        self._duplicates = 0
        self._repeated = 0
        # What an event's tenant, source and id stand for: its type and user.
        self._seen: dict[tuple[str | None, str, str], tuple[str, str]] = {}
        self._letters: Counter[DeadLetter] = Counter()
        self._counted: list[Event] = []
        self._badges: dict[Holder, ExpectedBadge] = {}
        self._links: dict[str, dict[str, dict[str, datetime]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        self._commands: dict[str, tuple[str, str, Mapping[str, object]]] = {}
        # By external id, in their order.
        self._waiting: dict[str, tuple[Record, Event]] = {}

    def read_phase(self, records: Iterable[Record]) -> None:
        """Read one phase.

        First all that counts, then the wallets, then what was asked for, in its order.
        """
        commands: list[tuple[Record, Event]] = []
        for record in records:
            self._messages += 1
            event = read_event(record, self._catalog, self._now)
            if isinstance(event, Rejected):
                self._dead_letter(record, event.reason)
            elif event.topic == "commands":
                commands.append((record, event))
            elif event.topic == "wallets":
                self._link(event)
            else:
                self._count(record, event)
        self._award()
        self._try_again()
        for record, event in commands:
            self._take(record, event)
        self._mint()

    def outcome(self) -> ExpectedOutcome:
        """Return the outcome of the phases so far."""
        return ExpectedOutcome(
            messages=self._messages,
            events=len(self._seen),
            duplicates=self._duplicates,
            letters=Counter(self._letters),
            counters=count_up(self._counted, self._catalog),
            latest=latest_times(self._counted, self._catalog),
            badges=dict(self._badges),
            repeated_commands=self._repeated,
            waiting=frozenset(self._waiting),
            links={user: address for user in self._links if (address := self._recipient(user))},
        )

    def _dead_letter(self, record: Record, reason: str) -> None:
        self._letters[DeadLetter(record.topic, reason, digest(record.value))] += 1

    def _count(self, record: Record, event: Event) -> None:
        identity, content = (event.tenant, event.source, event.id), (event.type, event.subject)
        if identity not in self._seen:
            self._seen[identity] = content
            self._counted.append(event)
        elif self._seen[identity] == content:
            self._duplicates += 1
        else:
            self._dead_letter(record, "event_id_conflict")

    def _award(self) -> None:
        for user, counters in count_up(self._counted, self._catalog).items():
            for code, level in self._catalog.levels(counters).items():
                held = self._badges.get((user, code))
                if held is None or (held.status == "active" and held.level < level):
                    above = 0 if held is None else held.level
                    wanted = self._catalog.by_code[code].mints_by_itself(counters, above)
                    held = held or ExpectedBadge(level)
                    self._badges[user, code] = replace(
                        held, level=level, wanted=held.wanted or wanted
                    )

    def _link(self, event: Event) -> None:
        address = wallets.raw(str(event.data["address"]))
        if address is not None:
            times = self._links[event.subject][address]
            times[event.type] = max(event.time, times.get(event.type, event.time))

    def _recipient(self, user: str) -> str | None:
        linked = {
            address: times
            for address, times in self._links[user].items()
            if "wallet.linked" in times
        }
        if not linked:
            return None
        address = max(linked, key=lambda address: linked[address]["wallet.linked"])
        times = linked[address]
        left = times.get("wallet.unlinked")
        return None if left is not None and left >= times["wallet.linked"] else address

    def _take(self, record: Record, command: Event) -> None:
        """Take in a command that comes now."""
        external_id = str(command.data["external_id"])
        known = self._commands.get(external_id)
        if external_id in self._waiting:
            known = _content(self._waiting[external_id][1])
        if known is not None:
            if known == _content(command):
                self._repeated += 1
            else:
                self._dead_letter(record, "external_id_conflict")
        elif self._ends(record, command):
            self._try_again()
        else:
            self._waiting[external_id] = (record, command)

    def _try_again(self) -> None:
        """Try what waits until nothing more of it can be carried out."""
        ended = True
        while ended:
            ended = False
            for external_id, waiting in list(self._waiting.items()):
                if self._ends(*waiting):
                    del self._waiting[external_id]
                    ended = True

    def _ends(self, record: Record, command: Event) -> bool:
        """Apply or reject `command`; return False where it has to wait for badge or token."""
        reason = self._apply(command)
        if reason in ("no_such_badge", "no_token"):
            return False
        if reason:
            self._dead_letter(record, reason)
        return True

    def _apply(self, command: Event) -> str | None:
        """Apply `command`, or return the reason why it cannot be applied now."""
        external_id, code = str(command.data["external_id"]), str(command.data["type_code"])
        badge = self._badges.get((command.subject, code))
        if command.type == "badge.award":
            return self._award_by_hand(command, badge)
        if badge is None:
            return "no_such_badge"
        if badge.status != "active":
            return "not_active"
        match command.type:
            case "badge.mint":
                if not self._catalog.by_code[code].may_mint(badge.level):
                    return "policy_rejected"
                changed = replace(badge, wanted=True)
            case "badge.burn":
                if not badge.wanted:
                    return "no_token"
                self._refuse_race(command, badge)
                changed = replace(badge, status="burned_onchain", burned=True)
            case _:
                if badge.wanted:
                    self._refuse_race(command, badge)
                changed = replace(badge, status="revoked", burned=badge.owner is not None)
        self._badges[command.subject, code] = changed
        self._commands[external_id] = _content(command)
        return None

    def _award_by_hand(self, command: Event, badge: ExpectedBadge | None) -> str | None:
        """Award a level, whatever the counters say, where it is higher than the badge's.

        Raises:
            UsageError: the badge is gone, so that the award makes another one.
        """
        holder = command.subject, str(command.data["type_code"])
        level, rules = int(str(command.data["level"])), self._catalog.by_code[holder[1]]
        by_level = {step.level: step for step in rules.steps}
        if level not in by_level:
            return "unknown_level"
        held = badge or ExpectedBadge(0)
        if held.status != "active":
            raise UsageError(
                f"badge.award {command.data['external_id']}: the user's badge is gone, and this "
                "outcome knows one badge of a type a user."
            )
        if level > held.level:
            counters = count_up(self._counted, self._catalog).get(command.subject, {})
            between = [step for step in rules.steps if held.level < step.level < level]
            passed = [step for step in between if holds(step.conditions, counters, missing=0)]
            unasked = any(step.mints_by_itself for step in [*passed, by_level[level]])
            self._badges[holder] = replace(
                held,
                level=level,
                wanted=held.wanted or unasked,
                skipped=held.skipped + len(between) - len(passed),
            )
        self._commands[str(command.data["external_id"])] = _content(command)
        return None

    @staticmethod
    def _refuse_race(command: Event, badge: ExpectedBadge) -> None:
        if badge.owner is None:
            raise UsageError(
                f"{command.type} {command.data['external_id']}: its token is not minted before "
                "this phase, so what becomes of it depends on the minter's pace. "
                "Send it a phase later."
            )

    def _mint(self) -> None:
        for (user, code), badge in self._badges.items():
            if badge.wanted and badge.owner is None and badge.status == "active":
                owner = self._recipient(user)
                if owner is not None:
                    self._badges[user, code] = replace(badge, owner=owner)


def _content(command: Event) -> tuple[str, str, Mapping[str, object]]:
    return command.type, command.subject, command.data

"""Compare database and chain with the expected outcome, and name every difference."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from demo.chain import Token
from demo.oracle.catalog import Badges
from demo.oracle.expected import DeadLetter, ExpectedBadge, ExpectedOutcome, Holder, digest
from store.inspection import BadgeRow, Snapshot


class Aspect(StrEnum):
    """What a difference is about: an aspect of the outcome, or a step of the run."""

    EVENTS = "events"
    DEAD_LETTERS = "dead letters"
    WAITING = "waiting commands"
    COUNTERS = "counters"
    BADGES = "badges"
    AUDIT = "audit"
    OUTBOX = "outbox"
    TOKENS = "tokens"
    CHAIN = "chain"
    CONVERGENCE = "convergence"
    RECONCILE = "reconcile"
    REPAIR = "repair"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it must be; `place` names whom or what it is about."""

    aspect: Aspect
    place: str
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{self.aspect}: {self.place}: expected {self.expected}, found {self.found}"


def differences(
    expected: ExpectedOutcome, badges: Badges, found: Snapshot, topic_prefix: str
) -> list[Difference]:
    """Return how the database differs from what is expected; nothing if it does not."""
    rows: dict[Holder, list[BadgeRow]] = defaultdict(list)
    for row in found.badges:
        rows[str(row.user_id), row.type_code].append(row)
    return [
        *_events(expected, found),
        *_letters(expected, found, topic_prefix),
        *_waiting(expected, found),
        *_counters(expected, badges, found),
        *_badges(expected, rows),
        *(
            Difference(Aspect.OUTBOX, f"user {user}", "seq 1, 2, 3, ...", "a gap")
            for user in found.gapped_users
        ),
    ]


def chain_differences(
    expected: ExpectedOutcome,
    found: Snapshot,
    tokens: Mapping[str, Token],
    items: Mapping[str, int],
    authority: str,
) -> list[Difference]:
    """Return how the chain differs from what is expected.

    Args:
        expected: says who owns which token, and which are revoked.
        found: says which badge has which token, and which collection is whose.
        tokens: what the chain says of each token that the database knows, by address.
        items: how many items each collection has, by address: with the tokens' own indexes it
            leaves no room for one nobody knows.
        authority: raw address of the minting wallet.
    """
    homes = {row.type_code: row.address for row in found.collections}
    problems: list[Difference] = []
    indexes: dict[str, list[int]] = defaultdict(list)
    for row in found.badges:
        badge = expected.badges.get((str(row.user_id), row.type_code))
        if row.token_id is None:
            continue
        token = tokens.get(row.token_id)
        home = homes.get(row.type_code, "")
        index = -1 if token is None else token.index
        indexes[home].append(index)
        owner, burned = (None, False) if badge is None else (badge.owner, badge.burned)
        wanted = Token(home, index, owner, authority, f"{row.id}.json", revoked=burned)
        if token != wanted:
            problems.append(Difference(Aspect.CHAIN, f"token {row.token_id}", wanted, token))
    for code, home in homes.items():
        if sorted(indexes[home]) != list(range(items.get(home, 0))):
            place = f"collection of {code}"
            problems.append(
                Difference(
                    Aspect.CHAIN,
                    place,
                    f"{items.get(home, 0)} items",
                    f"{len(indexes[home])} known",
                )
            )
    return problems


def _events(expected: ExpectedOutcome, found: Snapshot) -> Iterator[Difference]:
    if found.events != expected.events:
        yield Difference(Aspect.EVENTS, "counted", expected.events, found.events)


def _letters(expected: ExpectedOutcome, found: Snapshot, topic_prefix: str) -> Iterator[Difference]:
    seen = Counter(
        DeadLetter(row.topic.removeprefix(f"{topic_prefix}."), row.reason, digest(row.value))
        for row in found.letters
    )
    for letter in sorted(expected.letters.keys() | seen.keys()):
        if expected.letters[letter] != seen[letter]:
            place = f"{letter.reason} on {letter.topic}, value {letter.digest[:12]}"
            yield Difference(Aspect.DEAD_LETTERS, place, expected.letters[letter], seen[letter])


def _waiting(expected: ExpectedOutcome, found: Snapshot) -> Iterator[Difference]:
    for external_id in sorted(expected.waiting ^ found.waiting):
        yield Difference(
            Aspect.WAITING,
            f"external_id {external_id}",
            external_id in expected.waiting,
            external_id in found.waiting,
        )


def _counters(expected: ExpectedOutcome, badges: Badges, found: Snapshot) -> Iterator[Difference]:
    seen = {(str(row.user_id), row.type_code): row for row in found.progress}
    for user, code in sorted(expected.latest.keys() | seen.keys()):
        row = seen.get((user, code))
        counters = {} if row is None else row.counters
        names = badges.by_code[code].counters
        wanted = {name: expected.counters.get(user, {}).get(name, 0) for name in names}
        shown = {name: counters.get(name, 0) for name in {*names, *counters}}
        latest, last_event_at = (
            expected.latest.get((user, code)),
            None if row is None else row.last_event_at,
        )
        if (wanted, latest) != (shown, last_event_at):
            yield Difference(
                Aspect.COUNTERS, f"{code} of user {user}", (wanted, latest), (shown, last_event_at)
            )


def _badges(
    expected: ExpectedOutcome, rows: Mapping[Holder, Sequence[BadgeRow]]
) -> Iterator[Difference]:
    for holder in sorted(expected.badges.keys() | rows.keys()):
        wanted = expected.badges.get(holder)
        found = rows.get(holder, [])
        place = f"{holder[1]} of user {holder[0]}"
        if wanted is None or len(found) != 1:
            yield Difference(
                Aspect.BADGES, place, "none" if wanted is None else "one", f"{len(found)} of them"
            )
            continue
        row = found[0]
        if (row.level, row.status) != (wanted.level, wanted.status):
            yield Difference(
                Aspect.BADGES,
                place,
                f"level {wanted.level}, {wanted.status}",
                f"level {row.level}, {row.status}",
            )
        yield from _token(place, wanted, row)
        history = _history(wanted)
        if dict(row.audit) != history:
            yield Difference(Aspect.AUDIT, place, history, dict(row.audit))
        yield from _messages(place, wanted, row)


def _token(place: str, wanted: ExpectedBadge, row: BadgeRow) -> Iterator[Difference]:
    has = wanted.owner is not None
    waits = wanted.wanted and not has and wanted.status == "active"
    expected = {
        "mints": int(has),
        "burns": int(wanted.burned),
        "held": int(waits),
        "token": has,
        "onchain_status": "minted" if has else "not_minted",
        "recipient": wanted.owner,
    }
    found = {
        "mints": row.mints,
        "burns": row.burns,
        "held": row.held,
        "token": row.token_id is not None,
        "onchain_status": row.onchain_status,
        "recipient": row.recipient,
    }
    if expected != found:
        yield Difference(Aspect.TOKENS, place, expected, found)


def _messages(place: str, wanted: ExpectedBadge, row: BadgeRow) -> Iterator[Difference]:
    expected = {
        "badge.created": 1,
        "badge.minted": int(wanted.owner is not None),
        "badge.burned": int(wanted.burned),
        "badge.revoked": int(wanted.status == "revoked"),
    }
    found = {name: row.outbox.get(name, 0) for name in expected}
    # A batch that raises a badge by several levels says so once, and says nothing if the badge is
    # new: how often depends on the batches.
    raised = row.outbox.get("badge.leveled_up", 0)
    if (
        expected != found
        or not 0 <= raised < wanted.level - wanted.skipped
        or set(row.outbox) - {*expected, "badge.leveled_up"}
    ):
        yield Difference(Aspect.OUTBOX, place, expected, dict(row.outbox))


def _history(badge: ExpectedBadge) -> dict[str, int]:
    """Return the badge's audit rows, by action.

    One for each level that was passed, and one for each step of its token; a burn is submitted too.
    """
    rows = {
        "created": 1,
        "level_up": badge.level - badge.skipped - 1,
        "submitted_onchain": int(badge.owner is not None) + int(badge.burned),
        "minted_onchain": int(badge.owner is not None),
        "burned_onchain": int(badge.burned),
        "revoked": int(badge.status == "revoked"),
    }
    return {action: number for action, number in rows.items() if number}

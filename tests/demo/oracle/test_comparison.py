"""The comparison can fail: each planted difference is named, and nothing else is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from demo.chain import Token
from demo.oracle.catalog import Badges, Number
from demo.oracle.comparison import chain_differences, differences
from demo.oracle.decode import Rejected, read_event
from demo.oracle.expected import ExpectedBadge, ExpectedOutcome, expected_outcome
from demo.records import Record
from ops.clock import SYSTEM_CLOCK
from store.inspection import BadgeRow, CollectionRow, DeadLetterRow, ProgressRow, Snapshot
from store.values.badges import InstanceStatus, OnchainStatus
from store.values.stream import Reason

pytestmark = pytest.mark.integration

AUTHORITY = "0:" + "ee" * 32


@pytest.fixture(scope="module")
def expected(small: list[Record], badges: Badges) -> ExpectedOutcome:
    return expected_outcome(small, badges)


@pytest.fixture(scope="module")
def right(expected: ExpectedOutcome, badges: Badges) -> Snapshot:
    """Return the database as it should be, written down from the expected outcome."""
    progress = [
        ProgressRow(UUID(user), code, shown(expected, user, badges.by_code[code].counters), at)
        for (user, code), at in expected.latest.items()
    ]
    codes = sorted({code for _, code in expected.tokens})
    return Snapshot(
        events=expected.events,
        commands=0,
        progress=tuple(progress),
        badges=tuple(
            a_row(UUID(user), code, badge) for (user, code), badge in expected.badges.items()
        ),
        letters=(),
        collections=tuple(
            CollectionRow(code, f"0:{number:064x}", "", 0) for number, code in enumerate(codes)
        ),
        outbox_messages=0,
        gapped_users=(),
        waiting=expected.waiting,
    )


def shown(expected: ExpectedOutcome, user: str, names: Sequence[str]) -> dict[str, Number]:
    counters = expected.counters.get(user, {})
    return {name: counters[name] for name in names if name in counters}


def a_row(user: UUID, code: str, badge: ExpectedBadge) -> BadgeRow:
    has = badge.owner is not None
    audit = {
        "created": 1,
        "level_up": badge.level - badge.skipped - 1,
        "submitted_onchain": has + badge.burned,
        "minted_onchain": has,
    }
    audit |= {"burned_onchain": badge.burned, "revoked": badge.status == "revoked"}
    return BadgeRow(
        id=uuid4(),
        user_id=user,
        type_code=code,
        level=badge.level,
        status=InstanceStatus(badge.status),
        onchain_status=OnchainStatus.MINTED if has else OnchainStatus.NOT_MINTED,
        token_id=f"0:{uuid4().hex * 2}" if has else None,
        recipient=badge.owner,
        audit={action: int(number) for action, number in audit.items() if number},
        outbox=a_badges_messages(badge),
        mints=int(has),
        burns=int(badge.burned),
        held=int(badge.wanted and not has),
    )


def a_badges_messages(badge: ExpectedBadge) -> dict[str, int]:
    messages = {
        "badge.created": 1,
        "badge.leveled_up": max(badge.level - badge.skipped - 2, 0),
        "badge.minted": badge.owner is not None,
    }
    messages |= {"badge.burned": badge.burned, "badge.revoked": badge.status == "revoked"}
    return {name: int(number) for name, number in messages.items() if number}


def without_letters(expected: ExpectedOutcome) -> ExpectedOutcome:
    return replace(expected, letters=type(expected.letters)())


def test_what_is_right_does_not_differ(
    expected: ExpectedOutcome, badges: Badges, right: Snapshot
) -> None:
    assert differences(without_letters(expected), badges, right, "laurel") == []


def first_badge(
    change: Callable[[BadgeRow], BadgeRow], *, minted: bool
) -> Callable[[Snapshot], Snapshot]:
    def changed(found: Snapshot) -> Snapshot:
        place = next(
            i
            for i, row in enumerate(found.badges)
            if (row.token_id is not None) is minted and row.level > 1
        )
        rows = [*found.badges]
        rows[place] = change(rows[place])
        return replace(found, badges=tuple(rows))

    return changed


def wrong_counter(found: Snapshot) -> Snapshot:
    row = found.progress[0]
    counters = {name: number + 1 for name, number in row.counters.items()}
    return replace(found, progress=(replace(row, counters=counters), *found.progress[1:]))


PLANTED: dict[str, tuple[str, Callable[[Snapshot], Snapshot]]] = {
    "an event counted twice": ("events", lambda found: replace(found, events=found.events + 1)),
    "a counter one too high": ("counters", wrong_counter),
    "an event seen too late": (
        "counters",
        lambda found: replace(
            found,
            progress=(
                replace(found.progress[0], last_event_at=SYSTEM_CLOCK.now()),
                *found.progress[1:],
            ),
        ),
    ),
    "a user's counters lost": (
        "counters",
        lambda found: replace(found, progress=found.progress[1:]),
    ),
    "counters of nobody": (
        "counters",
        lambda found: replace(
            found,
            progress=(
                *found.progress,
                ProgressRow(uuid4(), "explorer", {"quest_completed_count": 1}, SYSTEM_CLOCK.now()),
            ),
        ),
    ),
    "a letter of nobody": (
        "dead letters",
        lambda found: replace(
            found, letters=(DeadLetterRow("laurel.quests", Reason.NOT_JSON, b"{"),)
        ),
    ),
    "a badge twice": (
        "badges",
        lambda found: replace(found, badges=(*found.badges, found.badges[0])),
    ),
    "a badge lost": ("badges", lambda found: replace(found, badges=found.badges[1:])),
    "a badge of nobody": (
        "badges",
        lambda found: replace(
            found, badges=(*found.badges, replace(found.badges[0], user_id=uuid4()))
        ),
    ),
    "a level too low": (
        "badges",
        first_badge(lambda row: replace(row, level=row.level - 1), minted=False),
    ),
    "a badge revoked": (
        "badges",
        first_badge(lambda row: replace(row, status=InstanceStatus.REVOKED), minted=False),
    ),
    "a token twice": ("tokens", first_badge(lambda row: replace(row, mints=2), minted=True)),
    "a token lost": ("tokens", first_badge(lambda row: replace(row, token_id=None), minted=True)),
    "a token for nobody": (
        "tokens",
        first_badge(
            lambda row: replace(
                row, mints=1, token_id=AUTHORITY, onchain_status=OnchainStatus.MINTED
            ),
            minted=False,
        ),
    ),
    "another recipient": (
        "tokens",
        first_badge(lambda row: replace(row, recipient=AUTHORITY), minted=True),
    ),
    "an audit row twice": (
        "audit",
        first_badge(lambda row: replace(row, audit={**row.audit, "created": 2}), minted=False),
    ),
    "an audit row lost": (
        "audit",
        first_badge(lambda row: replace(row, audit={"created": 1}), minted=True),
    ),
    "a message twice": (
        "outbox",
        first_badge(
            lambda row: replace(row, outbox={**row.outbox, "badge.minted": 2}), minted=True
        ),
    ),
    "a message lost": ("outbox", first_badge(lambda row: replace(row, outbox={}), minted=False)),
    "more rises than levels": (
        "outbox",
        first_badge(
            lambda row: replace(row, outbox={**row.outbox, "badge.leveled_up": 3}), minted=False
        ),
    ),
    "a command that waits for ever": (
        "waiting commands",
        lambda found: replace(found, waiting=found.waiting | {"request-0"}),
    ),
    "a command that does not wait": (
        "waiting commands",
        lambda found: replace(found, waiting=frozenset(sorted(found.waiting)[1:])),
    ),
    "a gap in the outbox": ("outbox", lambda found: replace(found, gapped_users=(uuid4(),))),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_difference_is_named(
    expected: ExpectedOutcome, badges: Badges, right: Snapshot, planted: str
) -> None:
    check, plant = PLANTED[planted]
    assert [
        each.aspect
        for each in differences(without_letters(expected), badges, plant(right), "laurel")
    ] == [check]


def test_dead_letters_are_held_to_topic_reason_and_bytes(
    expected: ExpectedOutcome, badges: Badges, right: Snapshot, small: list[Record]
) -> None:
    letters = [
        DeadLetterRow(f"laurel.{record.topic}", Reason(read.reason), record.value)
        for record in small
        if isinstance(read := read_event(record, badges, SYSTEM_CLOCK.now()), Rejected)
    ]
    # What a message alone does not tell.
    rejected = {
        letter
        for letter in expected.letters
        if letter.reason == "event_id_conflict"
        or (letter.topic == "commands" and letter.reason != "missing_field")
    }
    understood = replace(
        expected,
        letters=type(expected.letters)(
            {k: n for k, n in expected.letters.items() if k not in rejected}
        ),
    )
    assert differences(understood, badges, replace(right, letters=tuple(letters)), "laurel") == []
    other_bytes = [replace(letters[0], value=b"?"), *letters[1:]]
    found = differences(understood, badges, replace(right, letters=tuple(other_bytes)), "laurel")
    assert [each.aspect for each in found] == ["dead letters", "dead letters"]


def the_chain(
    expected: ExpectedOutcome, found: Snapshot
) -> tuple[dict[str, Token], dict[str, int]]:
    homes = {row.type_code: row.address for row in found.collections}
    tokens: dict[str, Token] = {}
    items = dict.fromkeys(homes.values(), 0)
    for row in found.badges:
        if row.token_id is not None:
            badge = expected.badges[str(row.user_id), row.type_code]
            home = homes[row.type_code]
            tokens[row.token_id] = Token(
                home, items[home], badge.owner, AUTHORITY, f"{row.id}.json", badge.burned
            )
            items[home] += 1
    return tokens, items


def test_a_chain_that_is_right_does_not_differ(expected: ExpectedOutcome, right: Snapshot) -> None:
    assert chain_differences(expected, right, *the_chain(expected, right), AUTHORITY) == []


@pytest.mark.parametrize(
    "change",
    [
        {"owner": None, "authority": None},
        {"owner": "0:" + "12" * 32},
        {"authority": "0:" + "12" * 32},
        {"content": "another.json"},
        {"collection": "0:" + "12" * 32},
    ],
    ids="+".join,
)
def test_a_token_that_differs_is_named(
    expected: ExpectedOutcome, right: Snapshot, change: dict[str, str | None]
) -> None:
    tokens, items = the_chain(expected, right)
    address = min(tokens)
    tokens[address] = replace(tokens[address], **change)  # type: ignore[arg-type]
    assert [
        each.place for each in chain_differences(expected, right, tokens, items, AUTHORITY)
    ] == [f"token {address}"]


def test_a_missing_token_is_named_and_leaves_a_gap_in_its_collection(
    expected: ExpectedOutcome, right: Snapshot
) -> None:
    tokens, items = the_chain(expected, right)
    address = min(tokens)
    del tokens[address]
    places = [each.place for each in chain_differences(expected, right, tokens, items, AUTHORITY)]
    assert places[0] == f"token {address}"
    assert [place.split()[0] for place in places] == ["token", "collection"]


def test_an_item_that_nobody_knows_is_named(expected: ExpectedOutcome, right: Snapshot) -> None:
    tokens, items = the_chain(expected, right)
    home = right.collections[0]
    items[home.address] += 1
    places = [each.place for each in chain_differences(expected, right, tokens, items, AUTHORITY)]
    assert places == [f"collection of {home.type_code}"]

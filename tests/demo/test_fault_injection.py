"""Who is tampered with, and what the repair must have done - and nothing else."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from demo.fault_injection import Targets, choose, repair_differences
from demo.oracle.expected import ExpectedBadge, ExpectedOutcome
from ops.errors import InvariantBroken
from store.inspection import BadgeRow, Snapshot
from store.values.badges import InstanceStatus, OnchainStatus

OWNER = "0:" + "ab" * 32
STANDING = InstanceStatus.ACTIVE, OnchainStatus.MINTED


def a_row(user: UUID, token: str | None = "0:" + "cd" * 32) -> BadgeRow:
    audit = {"created": 1, "submitted_onchain": 1, "minted_onchain": 1}
    outbox = {"badge.created": 1, "badge.minted": 1}
    return BadgeRow(uuid4(), user, "explorer", 2, *STANDING, token, OWNER, audit, outbox, 1, 0, 0)


def a_snapshot(*rows: BadgeRow) -> Snapshot:
    return Snapshot(0, 0, (), rows, (), (), 0, ())


def an_outcome(*badges: tuple[BadgeRow, ExpectedBadge]) -> ExpectedOutcome:
    return ExpectedOutcome(
        0,
        0,
        0,
        Counter(),
        {},
        {},
        {(str(row.user_id), row.type_code): badge for row, badge in badges},
        0,
    )


ACTIVE = ExpectedBadge(2, owner=OWNER, wanted=True)


def test_two_users_with_standing_tokens_are_chosen() -> None:
    rows = [a_row(UUID(int=number)) for number in range(1, 6)]
    expected = an_outcome(
        (rows[0], replace(ACTIVE, status=InstanceStatus.BURNED_ONCHAIN, burned=True)),
        (rows[1], ACTIVE),
        (rows[2], replace(ACTIVE, owner=None)),
        (rows[3], replace(ACTIVE, status="revoked", burned=True)),
        (rows[4], ACTIVE),
    )
    assert choose(expected, rows) == Targets(destroyed=rows[1], token_lost=rows[4])


def test_too_few_tokens_are_no_demo() -> None:
    row = a_row(UUID(int=1))
    with pytest.raises(InvariantBroken, match="two users"):
        choose(an_outcome((row, ACTIVE)), [row])


@pytest.fixture
def gone() -> BadgeRow:
    return a_row(UUID(int=1))


@pytest.fixture
def kept() -> BadgeRow:
    return a_row(UUID(int=2))


@pytest.fixture
def other() -> BadgeRow:
    return a_row(UUID(int=3))


def repaired(gone: BadgeRow, kept: BadgeRow, other: BadgeRow) -> list[BadgeRow]:
    burned = replace(
        gone,
        status=InstanceStatus.BURNED_ONCHAIN,
        audit={**gone.audit, "burned_onchain": 1},
        outbox={**gone.outbox, "badge.burned": 1},
    )
    return [burned, replace(kept, audit={**kept.audit, "metadata_updated": 1}), other]


def test_two_repaired_and_the_others_untouched_is_right(
    gone: BadgeRow, kept: BadgeRow, other: BadgeRow
) -> None:
    after = a_snapshot(*repaired(gone, kept, other))
    assert repair_differences(Targets(gone, kept), a_snapshot(gone, kept, other), after) == []


@pytest.mark.parametrize(
    ("place", "change", "fields"),
    [
        (0, lambda row: replace(row, status=InstanceStatus.ACTIVE), {"status"}),
        (0, lambda row: replace(row, token_id=None), {"token_id"}),
        (1, lambda row: replace(row, token_id=None), {"token_id"}),
        (1, lambda row: replace(row, token_id=OWNER, mints=2), {"token_id", "mints"}),
        (2, lambda row: replace(row, level=3), {"level"}),
    ],
)
def test_what_the_repair_left_or_touched_is_named(
    gone: BadgeRow,
    kept: BadgeRow,
    other: BadgeRow,
    place: int,
    change: Callable[[BadgeRow], BadgeRow],
    fields: set[str],
) -> None:
    rows = repaired(gone, kept, other)
    rows[place] = change(rows[place])
    (difference,) = repair_differences(
        Targets(gone, kept), a_snapshot(gone, kept, other), a_snapshot(*rows)
    )
    assert difference.place == f"badge {rows[place].id}"
    assert isinstance(difference.expected, dict)
    assert set(difference.expected) == fields


def test_a_badge_that_vanished_is_named(gone: BadgeRow, kept: BadgeRow, other: BadgeRow) -> None:
    after = a_snapshot(*repaired(gone, kept, other)[:2])
    (difference,) = repair_differences(Targets(gone, kept), a_snapshot(gone, kept, other), after)
    assert (difference.place, difference.found) == (f"badge {other.id}", None)

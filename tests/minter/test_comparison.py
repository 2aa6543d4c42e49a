"""Two pictures of a collection, and what differs between them."""

from dataclasses import replace
from uuid import UUID

import pytest

from minter.comparison import CollectionItem, CollectionSnapshot, Finding, FindingKind, compare
from minter.ton.metadata_uris import item_suffix
from minter.ton.values import Token
from store.values.badges import InstanceStatus, OnchainStatus
from store.values.minting import TaskStatus, TokenRecord
from store.values.names import RawAddress

BADGE, TYPE = UUID(int=1), UUID(int=2)
OWNER, MINTER, OTHER = (RawAddress(f"0:{digit * 64}") for digit in "123")
ITEM = RawAddress("0:" + "a" * 64)
TOKEN = Token(OWNER, MINTER, item_suffix(BADGE))
RECORD = TokenRecord(
    BADGE,
    TYPE,
    InstanceStatus.ACTIVE,
    OnchainStatus.MINTED,
    ITEM,
    TaskStatus.CONFIRMED,
    0,
    OWNER,
    burn_open=False,
    burned=False,
)
UNMINTED = replace(
    RECORD, onchain_status=OnchainStatus.PENDING, token_id=None, mint_status=TaskStatus.PENDING
)


def a_picture(
    token: Token | None = TOKEN, *, next_index: int = 1, held: frozenset[int] = frozenset()
) -> CollectionSnapshot:
    items = (CollectionItem(0, ITEM, token),)
    return CollectionSnapshot("explorer", next_index, 1, held, items, wallet=MINTER)


def kinds(snapshot: CollectionSnapshot, *records: TokenRecord) -> list[FindingKind]:
    return [
        finding.kind
        for finding in compare(snapshot, {record.instance_id: record for record in records})
    ]


def test_two_equal_pictures_have_no_difference() -> None:
    assert kinds(a_picture(), RECORD) == []


@pytest.mark.parametrize(
    ("record", "token", "expected"),
    [
        (replace(RECORD, token_id=None), TOKEN, FindingKind.LOST_ID),
        (RECORD, Token(None, None, TOKEN.content), FindingKind.DESTROYED),
        (
            replace(RECORD, status=InstanceStatus.REVOKED),
            Token(None, None, TOKEN.content),
            FindingKind.DESTROYED,
        ),
        (RECORD, replace(TOKEN, revoked_at=5), FindingKind.REVOKED_ELSEWHERE),
        (RECORD, replace(TOKEN, owner=OTHER), FindingKind.OWNER_MISMATCH),
        (RECORD, replace(TOKEN, content=item_suffix(TYPE)), FindingKind.CONTENT_DRIFT),
        (replace(RECORD, token_id=OTHER), TOKEN, FindingKind.SECOND_TOKEN),
        (replace(RECORD, status=InstanceStatus.REVOKED), TOKEN, FindingKind.STANDING_TOKEN),
        (replace(RECORD, status=InstanceStatus.BURNED_ONCHAIN), TOKEN, FindingKind.STANDING_TOKEN),
        (RECORD, replace(TOKEN, authority=OTHER), FindingKind.FOREIGN_AUTHORITY),
        (replace(UNMINTED, token_index=None), TOKEN, FindingKind.UNKNOWN_TOKEN),
        (replace(UNMINTED, token_index=7), TOKEN, FindingKind.UNKNOWN_TOKEN),
        (replace(UNMINTED, mint_status=TaskStatus.FAILED), TOKEN, FindingKind.UNKNOWN_TOKEN),
    ],
)
def test_a_difference_has_one_name(
    record: TokenRecord, token: Token, expected: FindingKind
) -> None:
    (finding,) = compare(a_picture(token), {BADGE: record})
    assert (finding.kind, finding.instance_id, finding.token_id, finding.index) == (
        expected,
        BADGE,
        ITEM,
        0,
    )


@pytest.mark.parametrize(
    ("record", "token"),
    [
        (replace(RECORD, burn_open=True), replace(TOKEN, revoked_at=5)),
        (replace(RECORD, burned=True, status=InstanceStatus.REVOKED), replace(TOKEN, revoked_at=5)),
        (replace(RECORD, burn_open=True), Token(None, None, TOKEN.content)),
        (replace(RECORD, status=InstanceStatus.BURNED_ONCHAIN), Token(None, None, TOKEN.content)),
        (replace(RECORD, burn_open=True, status=InstanceStatus.REVOKED), TOKEN),
        (replace(RECORD, token_id=OTHER, burn_open=True), replace(TOKEN, revoked_at=5)),
        (UNMINTED, TOKEN),  # the minter is about to see it
        (replace(UNMINTED, mint_status=TaskStatus.SENT), TOKEN),
    ],
)
def test_work_under_way_and_work_done_are_no_difference(record: TokenRecord, token: Token) -> None:
    assert kinds(a_picture(token), record) == []


def test_a_token_that_names_nobody_has_no_badge() -> None:
    expected = Finding(
        FindingKind.UNKNOWN_TOKEN,
        "explorer",
        None,
        ITEM,
        0,
        "its content 'x.json' names no badge of this type",
    )
    assert compare(a_picture(replace(TOKEN, content="x.json")), {}) == [expected]


def test_a_minted_badge_that_no_token_names_is_missing_its_token() -> None:
    empty = CollectionSnapshot("explorer", 0, 0, frozenset(), ())
    assert kinds(empty, RECORD) == [FindingKind.MISSING_TOKEN]
    assert kinds(empty, UNMINTED) == []


@pytest.mark.parametrize(
    ("next_index", "held", "expected"),
    [
        (1, frozenset(), []),
        (2, frozenset({1}), []),  # signed, and on its way
        (0, frozenset(), [FindingKind.INDEX_GAP]),
        (2, frozenset(), [FindingKind.INDEX_GAP]),
    ],
)
def test_the_counts_agree_but_for_what_is_under_way(
    next_index: int, held: frozenset[int], expected: list[FindingKind]
) -> None:
    assert kinds(a_picture(next_index=next_index, held=held), RECORD) == expected


def test_a_place_that_nobody_initialised_is_a_gap_unless_a_mint_holds_it() -> None:
    record = replace(UNMINTED, token_index=0)
    assert kinds(a_picture(None), record) == [FindingKind.INDEX_GAP]
    assert kinds(a_picture(None, held=frozenset({0})), record) == []


def test_a_collection_that_obeys_another_is_named_beside_all_else() -> None:
    lost = replace(a_picture(), foreign_owner=OTHER)
    assert kinds(lost, RECORD) == [FindingKind.FOREIGN_COLLECTION]
    assert kinds(lost, replace(RECORD, token_id=None)) == [
        FindingKind.FOREIGN_COLLECTION,
        FindingKind.LOST_ID,
    ]


def test_every_kind_says_what_it_means() -> None:
    assert all(kind.meaning for kind in FindingKind)


def test_a_place_that_could_not_be_read_proves_nothing_missing() -> None:
    place = CollectionItem(0, ITEM, None, "no lite server answers")
    snapshot = CollectionSnapshot("explorer", 1, 1, frozenset(), (place,))
    holder, without_id = RECORD, replace(RECORD, instance_id=UUID(int=77), token_id=None)
    found = compare(snapshot, {each.instance_id: each for each in (holder, without_id)})
    assert [(each.kind, each.token_id, each.detail) for each in found] == [
        (FindingKind.UNREADABLE, ITEM, "no lite server answers")
    ]

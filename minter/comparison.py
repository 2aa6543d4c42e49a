"""Where chain and database differ. Pure: two snapshots in, findings out.

The database's snapshot is taken first, the chain's at a block after it, so a difference can also be
work under way; the shell (minter/reconcile.py) reads a finding's badge again before it believes it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from minter.ton.metadata_uris import instance_of, item_suffix
from minter.ton.values import Token
from store.values.badges import InstanceStatus, OnchainStatus
from store.values.minting import TaskStatus, TokenRecord
from store.values.names import RawAddress


class FindingKind(StrEnum):
    """What a difference is called, in reports, metrics and documents."""

    UNKNOWN_TOKEN = "unknown token"  # noqa: S105 - a token on chain, no secret
    SECOND_TOKEN = "second token"  # noqa: S105
    MISSING_TOKEN = "missing token"  # noqa: S105
    LOST_ID = "lost id"
    OWNER_MISMATCH = "owner mismatch"
    CONTENT_DRIFT = "content drift"
    DESTROYED = "destroyed"
    REVOKED_ELSEWHERE = "revoked elsewhere"
    INDEX_GAP = "index gap"
    UNREADABLE = "unreadable"
    FOREIGN_COLLECTION = "foreign collection"
    STANDING_TOKEN = "standing token"  # noqa: S105
    FOREIGN_AUTHORITY = "foreign authority"

    @property
    def meaning(self) -> str:
        """Return the words that explain it to a person."""
        return _MEANINGS[self]


_MEANINGS = {
    FindingKind.UNKNOWN_TOKEN: "chain has it, database does not",
    FindingKind.SECOND_TOKEN: "another token of a badge that has one",
    FindingKind.MISSING_TOKEN: "database says minted, chain has nothing",
    FindingKind.LOST_ID: "minted, but the database lost the token's id",
    FindingKind.OWNER_MISMATCH: "somebody else holds it than the one it was signed for",
    FindingKind.CONTENT_DRIFT: "the token names another badge",
    FindingKind.DESTROYED: "its owner destroyed it",
    FindingKind.REVOKED_ELSEWHERE: "revoked on chain, active in the database",
    FindingKind.UNREADABLE: "no lite server shows it: the next run looks again",
    FindingKind.INDEX_GAP: "chain and database count the collection's items differently",
    FindingKind.STANDING_TOKEN: "the badge is revoked or burned, and its token stands",
    FindingKind.FOREIGN_AUTHORITY: "another than the minting wallet may revoke it",
    FindingKind.FOREIGN_COLLECTION: "it obeys another than the minting wallet, and refuses mints",
}


@dataclass(frozen=True, slots=True)
class CollectionItem:
    """A place in a collection; `token` None: nothing was ever initialised there.

    `unread`: why nothing is known of it, where that is so.
    """

    index: int
    address: RawAddress
    token: Token | None
    unread: str | None = None


@dataclass(frozen=True, slots=True)
class CollectionSnapshot:
    """A collection from both sides.

    `open_indexes` are held by open mints: what lacks there is on its way. `foreign_owner`: whom the
    collection obeys, where that is not the minting wallet. `wallet`: that one.
    """

    type_code: str
    next_index: int
    next_item_index: int
    open_indexes: frozenset[int]
    items: tuple[CollectionItem, ...]
    wallet: RawAddress | None = None
    foreign_owner: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `instance_id` None: it concerns no badge that the database knows."""

    kind: FindingKind
    type_code: str
    instance_id: UUID | None
    token_id: RawAddress | None
    index: int | None
    detail: str


def compare(snapshot: CollectionSnapshot, badges: Mapping[UUID, TokenRecord]) -> list[Finding]:
    """Return where a collection and the badges of its type differ.

    In the order of the indexes, then of the badges' ids.

    Args:
        snapshot: the collection, every item of it.
        badges: every badge of its type that the chain may know, by id.
    """
    found: list[Finding] = []
    if snapshot.foreign_owner is not None:
        detail = f"it obeys {snapshot.foreign_owner}, which can give it back by op 3"
        kind = FindingKind.FOREIGN_COLLECTION
        found.append(Finding(kind, snapshot.type_code, None, None, None, detail))
    if (gap := _gap(snapshot)) is not None:
        found.append(gap)
    holders = {badge.token_id: badge for badge in badges.values() if badge.token_id is not None}
    named: set[UUID] = set()
    for item in snapshot.items:
        if item.unread is not None:
            code, kind = snapshot.type_code, FindingKind.UNREADABLE
            found.append(Finding(kind, code, None, item.address, item.index, item.unread))
            if item.address in holders:
                named.add(holders[item.address].instance_id)
            continue
        if item.token is None:
            if item.index not in snapshot.open_indexes:
                detail = "nothing was initialised at this index, and no mint is under way for it"
                found.append(
                    Finding(
                        FindingKind.INDEX_GAP,
                        snapshot.type_code,
                        None,
                        item.address,
                        item.index,
                        detail,
                    )
                )
            continue
        holder = holders.get(item.address)
        instance_id = instance_of(item.token.content)
        badge = holder or (badges.get(instance_id) if instance_id is not None else None)
        if badge is not None:
            named.add(badge.instance_id)
        if (finding := _about(snapshot, item, item.token, badge)) is not None:
            found.append(finding)
    missing = [badge for badge in badges.values() if badge.instance_id not in named]
    if any(item.unread is not None for item in snapshot.items):
        # Whose token's address is not known may have it where nothing could be read.
        missing = [badge for badge in missing if badge.token_id is not None]
    found += _missing(snapshot.type_code, missing)
    return found


def _gap(snapshot: CollectionSnapshot) -> Finding | None:
    behind = snapshot.next_item_index > snapshot.next_index
    assigned = set(range(snapshot.next_item_index, snapshot.next_index))
    if not behind and assigned <= snapshot.open_indexes:
        return None
    detail = (
        f"the chain has {snapshot.next_item_index} items, "
        f"the database assigned {snapshot.next_index}"
    )
    return Finding(FindingKind.INDEX_GAP, snapshot.type_code, None, None, None, detail)


def _about(
    snapshot: CollectionSnapshot, item: CollectionItem, token: Token, badge: TokenRecord | None
) -> Finding | None:
    def finding(kind: FindingKind, detail: str) -> Finding:
        instance_id = None if badge is None else badge.instance_id
        return Finding(kind, snapshot.type_code, instance_id, item.address, item.index, detail)

    if badge is None:
        return finding(
            FindingKind.UNKNOWN_TOKEN,
            f"its content {token.content[:60]!r} names no badge of this type",
        )
    if badge.token_id == item.address:
        return _known(finding, token, badge, snapshot.wallet)
    if badge.token_id is not None:
        if token.end is not None:
            return None
        return finding(FindingKind.SECOND_TOKEN, f"the badge's is {badge.token_id}")
    if badge.onchain_status is OnchainStatus.MINTED:
        return finding(FindingKind.LOST_ID, "the badge is minted and has no token id")
    if (
        badge.mint_status in (TaskStatus.PENDING, TaskStatus.SENT)
        and badge.token_index == item.index
    ):
        return None  # under way: the minter is about to see it
    return finding(FindingKind.UNKNOWN_TOKEN, "it names a badge that the database has not minted")


def _known(
    finding: Callable[[FindingKind, str], Finding],
    token: Token,
    badge: TokenRecord,
    wallet: RawAddress | None,
) -> Finding | None:
    if token.content != item_suffix(badge.instance_id):
        return finding(FindingKind.CONTENT_DRIFT, f"its content is {token.content[:60]!r}")
    accounted = badge.burn_open or badge.burned or badge.status is InstanceStatus.BURNED_ONCHAIN
    if token.destroyed:
        return None if accounted else finding(FindingKind.DESTROYED, "by its owner")
    if badge.recipient is not None and token.owner != badge.recipient:
        return finding(
            FindingKind.OWNER_MISMATCH, f"held by {token.owner}, signed for {badge.recipient}"
        )
    if wallet is not None and token.authority != wallet:
        return finding(FindingKind.FOREIGN_AUTHORITY, f"its authority is {token.authority}")
    if badge.status is not InstanceStatus.ACTIVE and not (token.revoked_at or badge.burn_open):
        return finding(FindingKind.STANDING_TOKEN, f"the badge is {badge.status.value}")
    if token.revoked_at and not accounted:
        return finding(
            FindingKind.REVOKED_ELSEWHERE, f"at {token.revoked_at} (Unix time), not by a task"
        )
    return None


def _missing(type_code: str, badges: Iterable[TokenRecord]) -> list[Finding]:
    return [
        Finding(
            FindingKind.MISSING_TOKEN,
            type_code,
            badge.instance_id,
            badge.token_id,
            badge.token_index,
            "minted in the database; the chain shows no token",
        )
        for badge in sorted(badges, key=_id)
        if badge.onchain_status is OnchainStatus.MINTED
    ]


def _id(badge: TokenRecord) -> UUID:
    return badge.instance_id

"""Compare every token with the database at one masterchain block; repair the database where asked.

The database's snapshot comes first and the block after it: what the database knew is then on that
chain, or differs. A finding's badge is read again before it is named: what moved meanwhile is work
under way, and the next run's.
"""

import asyncio
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from minter import collections
from minter.accounting import Accounting
from minter.comparison import CollectionItem, CollectionSnapshot, Finding, FindingKind, compare
from minter.reconcile_report import REPAIRS, ReconcileReport, ReportedFinding
from minter.ton import metadata_uris, tokens
from minter.ton.gateway import AnswerRejected, BlockUnknown, ChainGateway, ChainUnreachable
from minter.ton.values import Account, Block, CollectionState, Token
from ops import metrics
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import LaurelError, Transient
from ops.logs import logger
from store import chain, fence, reconciliation
from store.chain import Collection, WalletRecord
from store.engine import Database
from store.fence import Shut
from store.reconciliation import FoundToken
from store.values.minting import TokenRecord
from store.values.names import RawAddress

log = logger("minter")

_ITEMS_A_SLICE = 256
# Of a collection's items: where more cannot be read, it is not theirs that something is wrong.
_UNREADABLE_MAX = 100
_CATCH_UP = timedelta(seconds=10)
_CATCH_UP_PAUSE = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run has to know of the operator's settings.

    `metadata_base_url` None: collections that the database does not know are not looked for.
    `accept_unknown`: a person says that tokens of badges that nobody knows may stand.
    `reads_at_once`: few, where somebody mints beside it. `burns`: burns are asked for without a
    person, where a badge is over, its token stands, and no burn has failed. `revoke_second`: a
    person says that tokens are to be revoked that a badge has beside its own.
    """

    expiry_margin: timedelta = timedelta(seconds=30)
    metadata_base_url: str | None = None
    accept_unknown: bool = False
    revoke_second: bool = False
    reads_at_once: int = 32
    burns: bool = False


@dataclass(frozen=True, slots=True)
class _Compared:
    """A collection from both sides, as it was compared: the badges of its type, by id."""

    collection: Collection
    snapshot: CollectionSnapshot
    records: Mapping[UUID, TokenRecord]


async def reconcile(
    db: Database,
    gateway: ChainGateway,
    *,
    repair: bool,
    terms: Terms | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> ReconcileReport:
    """Compare chain and database, name the differences and, with `repair`, repair them.

    Where a token has no badge, minting is shut; a repair opens it once all have, and nothing that
    the database does not know can be under way any more.

    Raises:
        ChainUnreachable, BlockUnknown, HistoryForgotten, DatabaseUnreachable: nothing was
            concluded.
    """
    started, terms = clock.monotonic(), terms or Terms()
    async with db.transaction() as conn:
        wallet = await chain.wallet(conn)
        if repair and wallet is not None and terms.metadata_base_url is not None:
            owner = (wallet.id, wallet.identity.address)
            await collections.add_missing(conn, owner, terms.metadata_base_url)
        known = await chain.collections(conn)
        records = _by_type(await reconciliation.token_records(conn))
        held = {each.id: await reconciliation.open_indexes(conn, each.id) for each in known}
    block = await _block_from(gateway, 0 if wallet is None else wallet.seqno_seen, clock)
    if repair and wallet is not None:
        await _ask_repair(db, gateway, wallet, block, terms)
    findings: list[ReportedFinding] = []
    unknown: list[Finding] = []
    count, clean = 0, True
    for collection in known:
        try:
            items, state = await _items(gateway, collection, block, terms)
        except (ChainUnreachable, BlockUnknown, AnswerRejected) as error:
            # It holds up none of the others, unless nobody answers at all.
            await gateway.newest_block()
            findings.append(ReportedFinding(_unreadable(collection, error)))
            clean = False
            continue
        count += sum(item.token is not None for item in items)
        of_type = records.get(collection.type_id, {})
        of_type = of_type | await _never_submitted(db, collection, items, of_type)
        snapshot = CollectionSnapshot(
            collection.type_code,
            collection.next_index,
            0 if state is None else state.next_item_index,
            held[collection.id],
            tuple(items),
            None if wallet is None else wallet.identity.address,
            _foreign_owner(state, wallet),
        )
        compared = _Compared(collection, snapshot, of_type)
        found, blocking, agreed = await _found(db, compared, block, terms, repair=repair)
        findings += found
        unknown += blocking
        clean = clean and agreed
    shut = None
    if wallet is not None:
        repaired = clean if repair else None
        shut = await _shut_or_open(db, wallet, block, unknown, terms, repaired=repaired)
    seconds = clock.monotonic() - started
    report = ReconcileReport(block.seqno, count, len(known), tuple(findings), seconds, shut)
    show_findings([each.finding for each in report.findings])
    metrics.RECONCILE_SECONDS.observe(report.seconds)
    metrics.RECONCILE_LAST_SUCCESS.set(clock.now().timestamp())
    return report


async def _found(
    db: Database, compared: _Compared, block: Block, terms: Terms, *, repair: bool
) -> tuple[list[ReportedFinding], list[Finding], bool]:
    """Return a collection's findings; of them the tokens without a badge; whether all is agreed on.

    With `repair` they are repaired: tokens first, then the count, which is never agreed on beside a
    token without a badge, since its badge may be earned again and would be minted again.
    """
    # In a thread: of a hundred thousand tokens it takes a while, and beside it a minter mints.
    suspected = await asyncio.to_thread(compare, compared.snapshot, compared.records)
    certain = await _unmoved(db, compared, suspected)
    repaired, findings = dict[RawAddress | None, str](), []
    blocking = [each for each in suspected if _blocks(compared, each)]
    # Of two tokens that name one badge the badge gets the one that stands.
    for finding in sorted(certain, key=lambda each: _has_ended(compared, each)):
        if repair or (terms.burns and _is_unburned(compared, finding)):
            done = await _repair(db, compared, block, finding, terms)
            if done is not None:
                repaired[finding.token_id] = done
    if repair and terms.accept_unknown:
        accepted = [each for each in blocking if each.instance_id is None]
        await _accept(db, compared, accepted)
        repaired |= {each.token_id: "accepted" for each in accepted}
    findings = [
        ReportedFinding(each, repaired.get(each.token_id)) for each in certain if not _is_gap(each)
    ]
    blocking = [each for each in blocking if each.token_id not in repaired]
    gaps = [each for each in certain if _is_gap(each)]
    broken = compared.collection.breaker is not None
    whole = all(item.unread is None for item in compared.snapshot.items)
    agreed = whole and not blocking and not any(map(_is_gap, suspected)) and not broken
    if repair and whole and not blocking and not agreed:
        agreed = await _agree(db, compared, block)
    findings += [
        ReportedFinding(each, REPAIRS[each.kind] if agreed and each.index is None else None)
        for each in gaps
    ]
    return findings, [each for each in blocking if each in certain], agreed


def _blocks(compared: _Compared, finding: Finding) -> bool:
    """Return whether a token is one of a badge that may be earned again, and then minted again."""
    if finding.kind is not FindingKind.UNKNOWN_TOKEN:
        return False
    if finding.instance_id is not None:
        return True
    named = _named(compared, finding)
    return named is not None and named not in compared.collection.accepted


def _token(compared: _Compared, finding: Finding) -> Token | None:
    return None if finding.index is None else compared.snapshot.items[finding.index].token


def _has_ended(compared: _Compared, finding: Finding) -> bool:
    token = _token(compared, finding)
    return token is not None and token.end is not None


def _named(compared: _Compared, finding: Finding) -> UUID | None:
    token = _token(compared, finding)
    return None if token is None else metadata_uris.instance_of(token.content)


async def _accept(db: Database, compared: _Compared, findings: Sequence[Finding]) -> None:
    """Write down the badges of tokens that a person lets stand without one."""
    named = [_named(compared, each) for each in findings]
    async with db.transaction() as conn:
        await chain.lock_collection(conn, compared.collection.id)
        badges = [each for each in named if each is not None]
        await fence.accept_unknown(conn, compared.collection.id, badges)


async def _agree(db: Database, compared: _Compared, block: Block) -> bool:
    """Continue the collection's count where the chain stands; return whether that was possible."""
    async with db.transaction() as conn:
        wallet = await chain.wallet(conn)
        timeout = timedelta(seconds=0 if wallet is None else wallet.identity.timeout_s)
        return await reconciliation.agree_on_index(
            conn,
            compared.collection.id,
            compared.snapshot.next_item_index,
            seen_next_index=compared.collection.next_index,
            dead_before=block.time - timeout,
        )


async def _ask_repair(
    db: Database, gateway: ChainGateway, wallet: WalletRecord, block: Block, terms: Terms
) -> None:
    """Look at wallet and database as a minter does, and write that a person asked for a repair."""
    account = await gateway.account(wallet.identity.address, block)
    await Accounting(gateway, wallet, terms.expiry_margin).look(db, block, account)
    async with db.transaction() as conn:
        await fence.ask_repair(conn, wallet.id)


async def _shut_or_open(
    db: Database,
    wallet: WalletRecord,
    block: Block,
    unknown: Sequence[Finding],
    terms: Terms,
    *,
    repaired: bool | None,
) -> Shut | None:
    """Shut minting where an `unknown` token has no badge; open it where all was `repaired`.

    `repaired` None: nobody asked for a repair.

    Return why it is shut now.
    """
    async with db.transaction() as conn:
        stored = await fence.fence(conn, wallet.id, lock=True)
        # Another run may have adopted them since this one read the badges.
        adopted = await fence.tokens_with_badge(conn, [each.token_id for each in unknown])
        unknown = [each for each in unknown if each.token_id not in adopted]
        if unknown and not (stored.shut is not None and stored.shut.needs_repair):
            until = block.time + timedelta(seconds=wallet.identity.timeout_s) + terms.expiry_margin
            reason = f"a token has no badge: {unknown[0].token_id} of {unknown[0].type_code}"
            await fence.shut(conn, wallet.id, Shut(reason, until, needs_repair=True))
            if repaired is not None:
                await fence.ask_repair(conn, wallet.id)
        elif repaired and await fence.reopen(conn, wallet.id, block.time, repaired=True):
            log.info("minting_open", seqno=block.seqno)
        now = await fence.fence(conn, wallet.id)
    if repaired and now.shut is None:
        async with db.transaction() as conn:
            await fence.free_held(conn)
    return now.shut


async def _block_from(gateway: ChainGateway, seqno: int, clock: Clock) -> Block:
    """Return the newest block.

    It must be no older than what the database was shown, which a lite server may lag behind for a
    moment.
    """
    deadline = clock.monotonic() + _CATCH_UP.total_seconds()
    while (block := await gateway.newest_block()).seqno < seqno:
        if clock.monotonic() > deadline:
            raise BlockUnknown(
                f"the lite servers are at block {block.seqno}, "
                f"this database was shown block {seqno}"
            )
        await clock.sleep(_CATCH_UP_PAUSE)
    return block


async def _items(
    gateway: ChainGateway, collection: Collection, block: Block, terms: Terms
) -> tuple[list[CollectionItem], CollectionState | None]:
    account = await gateway.account(collection.address, block)
    if account.data is None:
        return [], None
    try:
        state = tokens.parse_collection(account.data)
    except ValueError as error:
        raise AnswerRejected(f"collection {collection.address}: {error}") from None
    places = list[CollectionItem]()
    unread, count = 0, state.next_item_index
    # Some at a time: what is read of a large collection is taken apart between two reads, and does
    # not keep the event loop.
    for first in range(0, count, _ITEMS_A_SLICE):
        indexes = range(first, min(count, first + _ITEMS_A_SLICE))
        addresses = [tokens.item_address(collection.address, index) for index in indexes]
        found = await gateway.readable(addresses, block, at_once=terms.reads_at_once)
        failed = [each for each in found if isinstance(each, Transient)]
        unread += len(failed)
        if unread > _UNREADABLE_MAX:
            raise failed[0]
        places += map(_place, indexes, addresses, found)
    return places, state


def _foreign_owner(state: CollectionState | None, wallet: WalletRecord | None) -> str | None:
    if state is None or wallet is None or state.owner == wallet.identity.address:
        return None
    return state.owner or "nobody"


def _place(index: int, address: RawAddress, found: Account | Transient) -> CollectionItem:
    if isinstance(found, Transient):
        return CollectionItem(index, address, None, found.message)
    if found.data is None:
        return CollectionItem(index, address, None)
    try:
        return CollectionItem(index, address, tokens.parse_item(found.data).token)
    except ValueError as error:
        return CollectionItem(index, address, None, str(error))


def _unreadable(collection: Collection, error: LaurelError) -> Finding:
    kind = FindingKind.UNREADABLE
    return Finding(kind, collection.type_code, None, collection.address, None, error.message)


def _by_type(records: Mapping[UUID, TokenRecord]) -> dict[UUID, dict[UUID, TokenRecord]]:
    found = dict[UUID, dict[UUID, TokenRecord]]()
    for badge_id, record in records.items():
        found.setdefault(record.type_id, {})[badge_id] = record
    return found


async def _never_submitted(
    db: Database, collection: Collection, items: Sequence[CollectionItem], known: Container[UUID]
) -> dict[UUID, TokenRecord]:
    """Return badges that tokens name and that have no mint task.

    A restored database may not know that it minted them.
    """
    named = {
        metadata_uris.instance_of(place.token.content) for place in items if place.token is not None
    }
    missing = [
        instance_id for instance_id in named if instance_id is not None and instance_id not in known
    ]
    if not missing:
        return {}
    async with db.transaction() as conn:
        found = await reconciliation.token_records(conn, missing)
    return {key: record for key, record in found.items() if record.type_id == collection.type_id}


async def _unmoved(db: Database, compared: _Compared, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings whose badge, or whose collection's count, is still as it was compared."""
    collection, before = compared.collection, compared.records
    ids = {finding.instance_id for finding in findings if finding.instance_id is not None}
    async with db.transaction() as conn:
        now = await reconciliation.token_records(conn, list(ids))
        held = await reconciliation.open_indexes(conn, collection.id)
        known = {each.id: each.next_index for each in await chain.collections(conn)}
    still = (held, known.get(collection.id)) == (
        compared.snapshot.open_indexes,
        collection.next_index,
    )
    return [
        finding
        for finding in findings
        if (
            still
            if finding.instance_id is None
            else now.get(finding.instance_id) == before[finding.instance_id]
        )
    ]


async def _repair(
    db: Database, compared: _Compared, block: Block, finding: Finding, terms: Terms
) -> str | None:
    """Write the chain's word about one finding into the database.

    Return what was done; None where it is a person's to decide, or moved meanwhile.
    """
    record = None if finding.instance_id is None else compared.records[finding.instance_id]
    done = False
    async with db.transaction() as conn:
        match finding.kind:
            case FindingKind.LOST_ID if record is not None and finding.token_id is not None:
                done = await reconciliation.restore_id(conn, record, finding.token_id)
            case FindingKind.DESTROYED if record is not None:
                done = await reconciliation.mark_destroyed(conn, record, block.time)
            case FindingKind.UNKNOWN_TOKEN if record is not None and record.token_id is None:
                token = _token_found(compared, finding)
                if token is not None:
                    done = await reconciliation.adopt(conn, record, token, block.time)
            case FindingKind.SECOND_TOKEN if record is not None and terms.revoke_second:
                token = _token_found(compared, finding)
                if token is not None:
                    done = await reconciliation.revoke_second(conn, record, token)
            case FindingKind.STANDING_TOKEN if record is not None:
                done = await reconciliation.burn(conn, record)
            case _:
                pass
    return REPAIRS[finding.kind] if done else None


def _token_found(compared: _Compared, finding: Finding) -> FoundToken | None:
    if finding.index is None or finding.token_id is None:
        return None
    token = _token(compared, finding)
    owner = None if token is None else token.owner
    return FoundToken(compared.collection.id, finding.index, finding.token_id, owner)


def _is_unburned(compared: _Compared, finding: Finding) -> bool:
    if finding.kind is not FindingKind.STANDING_TOKEN or finding.instance_id is None:
        return False
    return not compared.records[finding.instance_id].burn_failed


def _is_gap(finding: Finding) -> bool:
    return finding.kind is FindingKind.INDEX_GAP


def show_findings(findings: Sequence[Finding]) -> None:
    """Show these findings as a metric, and none of any other kind."""
    counted = Counter(each.kind for each in findings)
    for kind in FindingKind:
        metrics.RECONCILE_FINDINGS.labels(kind.value.replace(" ", "_")).set(counted[kind])

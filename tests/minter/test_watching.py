"""From a decision to a settlement, and how a watch waits, renews and ends."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from minter import signing
from minter.context import MinterContext
from minter.mint_decision import (
    Confirm,
    Decision,
    Fail,
    Park,
    Reassign,
    Resend,
    Sign,
    SignAgain,
    Wait,
)
from minter.signing import SignedBatch
from minter.ton import metadata_uris, tokens
from minter.ton.gateway import AnswerRejected
from minter.ton.liteserver import LiteServers
from minter.ton.values import Account, Token
from minter.watching import _execution, _settlement, _WatchedTask, watch, watch_deploy
from ops.errors import InvariantBroken, LeaseLost
from ops.lifecycle import Stop
from sandbox.ton.network import TonNetwork
from store import chain
from store.chain import MessageRecord, NewCollection
from store.settlement_effects import Settlement
from store.values import (
    HoldReason,
    LeasedTask,
    MessageKind,
    MessageStatus,
    RawAddress,
    TaskEvent,
    TaskOperation,
    TaskStatus,
    TokenEnd,
    TypeCode,
)
from tests.builders.minters import refreshing, sign_due
from tests.builders.tasks import a_leased_task
from tests.builders.world import World, eventually, is_value

ITEM = RawAddress("0:" + "17" * 32)
OWNER = RawAddress("0:" + "1f" * 32)
MINTER = RawAddress("0:" + "2e" * 32)
STANDING = Token(OWNER, MINTER, "x.json")
REVOKED = Token(OWNER, MINTER, "x.json", revoked_at=7)
DESTROYED = Token(None, None, "x.json")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def settled(task: LeasedTask, decision: Decision) -> Settlement | None:
    return _settlement(_WatchedTask(task, ITEM, STANDING), decision)


@pytest.mark.parametrize("decision", [Wait(), Resend()])
def test_what_is_not_decided_is_not_settled(decision: Decision) -> None:
    assert settled(a_leased_task(), decision) is None


@pytest.mark.parametrize(
    ("token", "end"), [(STANDING, None), (REVOKED, None), (DESTROYED, TokenEnd.DESTROYED)]
)
def test_a_confirmed_mint_has_its_items_address(token: Token, end: TokenEnd | None) -> None:
    """One revoked since stays minted: reconcile names it (revoked elsewhere)."""
    task = a_leased_task()
    assert settled(task, Confirm(token)) == Settlement(
        task, TaskStatus.CONFIRMED, TaskEvent.CONFIRMED, token_id=ITEM, token_end=end
    )


@pytest.mark.parametrize(
    ("token", "end"), [(REVOKED, TokenEnd.REVOKED), (DESTROYED, TokenEnd.DESTROYED)]
)
def test_a_confirmed_burn_says_how_the_token_ended(token: Token, end: TokenEnd) -> None:
    task = a_leased_task(TaskOperation.BURN)
    assert settled(task, Confirm(token)) == Settlement(
        task, TaskStatus.CONFIRMED, TaskEvent.CONFIRMED, token_end=end
    )


@pytest.mark.parametrize(
    ("decision", "to_status", "event", "more"),
    [
        (SignAgain("why"), TaskStatus.PENDING, TaskEvent.VOID, {}),
        (Reassign("why"), TaskStatus.PENDING, TaskEvent.INDEX_TAKEN, {"drop_index": True}),
        (
            Park("why"),
            TaskStatus.PENDING,
            TaskEvent.PARKED,
            {"hold_reason": HoldReason.OPERATOR},
        ),
        (Fail("why"), TaskStatus.FAILED, TaskEvent.FAILED, {}),
    ],
)
def test_every_other_decision_has_its_transition(
    decision: Decision, to_status: TaskStatus, event: TaskEvent, more: dict[str, Any]
) -> None:
    task = a_leased_task()
    assert settled(task, decision) == Settlement(task, to_status, event, reason="why", **more)


def test_a_sent_task_is_never_to_be_signed() -> None:
    with pytest.raises(InvariantBroken):
        settled(a_leased_task(), Sign())


def test_a_wallet_that_does_not_read_as_one_decides_nothing() -> None:
    message = MessageRecord(
        id=uuid4(),
        chain_collection_id=uuid4(),
        kind=MessageKind.MINT,
        status=MessageStatus.UNRESOLVED,
        query_seq=0,
        signed_at=NOW,
        valid_until=NOW + timedelta(minutes=5),
        boc=b"",
        message_hash=b"",
        send_count=0,
        last_sent_at=None,
    )
    with pytest.raises(AnswerRejected):
        _execution(message, Account(1, b"nonsense"))


@pytest.fixture
def lost(ton: TonNetwork, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was sent and reached no validator."""
    messages: list[bytes] = []
    monkeypatch.setattr(ton.chain, "submit", messages.append)
    return messages


async def signed_one(ctx: MinterContext, world: World) -> SignedBatch:
    await world.to_mint()
    batch = await sign_due(ctx)
    assert isinstance(batch, SignedBatch)
    return batch


async def test_a_watch_ends_at_the_stop_and_leaves_what_is_open(
    hurried: MinterContext, world: World, lost: list[bytes]
) -> None:
    batch, stop = await signed_one(hurried, world), Stop()
    async with refreshing(hurried):
        watching = asyncio.create_task(watch(hurried, batch, stop))

        async def sent() -> bool:
            return lost == [batch.message.boc]

        await eventually(world, sent, "the message was sent")
        stop.request()
        await watching
    assert await world.sql(
        "SELECT status, lease_token FROM nft_mint_queue WHERE status <> 'confirmed'"
    ) == [("sent", batch.lease)]


async def test_no_item_is_read_before_the_message_can_have_had_an_effect(
    hurried: MinterContext, world: World, lost: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked = LiteServers.accounts, list[RawAddress]()

    async def noting(self: LiteServers, addresses: Any, block: Any) -> list[Account]:
        asked.extend(addresses)
        return await read(self, addresses, block)

    batch, stop = await signed_one(hurried, world), Stop()
    monkeypatch.setattr(LiteServers, "accounts", noting)
    async with refreshing(hurried):
        watching = asyncio.create_task(watch(hurried, batch, stop))
        first = hurried.view.current[0].seqno

        async def looked() -> bool:
            return bool(lost) and hurried.view.current[0].seqno > first + 2

        await eventually(world, looked, "several blocks were looked at")
        stop.request()
        await watching
    assert asked == []


async def test_a_lease_is_renewed_while_its_message_is_watched(
    hurried: MinterContext, world: World, lost: list[bytes]
) -> None:
    batch, stop = await signed_one(hurried, world), Stop()
    await world.sql(
        """
        UPDATE nft_mint_queue SET lease_expires_at = now() + interval '10 seconds'
         WHERE status = 'sent'
        """
    )
    async with refreshing(hurried):
        watching = asyncio.create_task(watch(hurried, batch, stop))
        renewed = """
            SELECT lease_expires_at > now() + interval '20 seconds'
              FROM nft_mint_queue WHERE status = 'sent'
        """
        await eventually(world, lambda: is_value(world, renewed, wanted=True), "renewed")
        stop.request()
        await watching
    assert lost != []


async def test_a_watch_whose_lease_another_minter_took_ends(
    hurried: MinterContext, world: World, lost: list[bytes]
) -> None:
    batch = await signed_one(hurried, world)
    await world.sql(
        "UPDATE nft_mint_queue SET lease_token = gen_random_uuid() WHERE status = 'sent'"
    )
    async with refreshing(hurried):
        with pytest.raises(LeaseLost):
            await watch(hurried, batch, Stop())
    assert await world.value("SELECT count(*) FROM nft_mint_queue WHERE status = 'sent'") == 1
    assert lost != []


async def test_a_deployment_that_expired_is_void_and_can_be_signed_again(
    hurried: MinterContext, world: World, ton: TonNetwork, lost: list[bytes]
) -> None:
    type_id, code, base = await world.badge_type("author"), TypeCode("author"), "https://x.example"
    uri, prefix = metadata_uris.collection_uri(base, code), metadata_uris.item_prefix(base, code)
    contract = tokens.collection(hurried.wallet.address, uri, prefix)
    new = NewCollection(type_id, hurried.wallet_id, contract.address, uri, prefix)
    async with hurried.db.transaction() as conn:
        collection = await chain.add_collection(conn, new)
    message = await signing.sign_deploy(hurried, collection)
    assert isinstance(message, MessageRecord)
    ton.advance(hurried.settings.message_ttl + hurried.settings.expiry_margin)
    async with refreshing(hurried):
        await watch_deploy(hurried, message, collection, Stop())
    assert len(lost) <= 1, "only while it could execute"
    assert (
        await world.value(
            "SELECT status FROM chain_message WHERE kind = 'deploy' AND id = :id", id=message.id
        )
        == "void"
    )
    assert isinstance(await signing.sign_deploy(hurried, collection), MessageRecord)

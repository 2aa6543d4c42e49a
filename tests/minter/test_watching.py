"""From a decision to a settlement, and how a watch waits, renews and ends."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from minter import signing
from minter.context import MinterContext
from minter.message_signing import NothingSigned, SignedBatch, observe_stage
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
from minter.ton import metadata_uris, tokens
from minter.ton.gateway import AnswerRejected, ChainUnreachable
from minter.ton.liteserver import LiteServers
from minter.ton.values import Account, Block, Execution, SendOutcome, SendResult, Token
from minter.watching import (
    _execution,
    _Look,
    _measure,
    _send,
    _send_due,
    _settle,
    _settlement,
    _WatchedTask,
    watch,
    watch_deploy,
)
from ops.errors import InvariantBroken, LeaseLost
from ops.lifecycle import Part, Stop
from sandbox.ton.network import TonNetwork
from store import chain, claiming
from store.chain import Collection, NewCollection
from store.chain_messages import MessageRecord
from store.engine import Connection
from store.settlement_effects import Settlement
from store.values.minting import (
    HoldReason,
    LeasedTask,
    MessageKind,
    MessageStatus,
    TaskEvent,
    TaskOperation,
    TaskStatus,
    TokenEnd,
)
from store.values.names import RawAddress, TypeCode
from tests.builders.clock import FakeClock
from tests.builders.metrics import Moved
from tests.builders.minters import claimed, collection_of, refreshing, sign_due
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
        created_at=NOW,
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
    read, asked = LiteServers.readable, list[RawAddress]()

    async def noting(self: LiteServers, addresses: Any, block: Any, **more: Any) -> Any:
        asked.extend(addresses)
        return await read(self, addresses, block, **more)

    batch, stop = await signed_one(hurried, world), Stop()
    monkeypatch.setattr(LiteServers, "readable", noting)
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


async def test_a_lease_is_renewed_each_third_of_it_also_while_no_block_comes(
    hurried: MinterContext,
    world: World,
    clock: FakeClock,
    lost: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one look that takes long leaves it time to be renewed before it runs out."""
    batch, stop = await signed_one(hurried, world), Stop()
    renew, renewed_at = claiming.renew, [clock.monotonic()]

    async def noting(conn: Connection, *arguments: Any) -> None:
        await renew(conn, *arguments)
        renewed_at.append(clock.monotonic())
        if len(renewed_at) == 4:
            stop.request()

    monkeypatch.setattr(claiming, "renew", noting)
    await watch(hurried, batch, stop)
    third, patience = hurried.settings.lease.total_seconds() / 3, 2.0
    waited = [after - before for before, after in pairwise(renewed_at)]
    assert len(waited) == 3
    assert all(third < each <= third + patience for each in waited), waited
    assert lost == [batch.message.boc]


def look_at(batch: SignedBatch, ctx: MinterContext, *, blocks_later: int = 0) -> _Look:
    """Return a look at the batch's message at a block that nobody else has seen."""
    block, _ = ctx.view.current
    later = replace(block, seqno=block.seqno + blocks_later)
    return _Look(ctx, batch.collection, batch.message, later, Execution.UNKNOWN)


async def message_status(world: World, message: MessageRecord) -> object:
    return await world.value("SELECT status FROM chain_message WHERE id = :id", id=message.id)


async def test_a_message_whose_tasks_are_all_void_is_void(ctx: MinterContext, world: World) -> None:
    await world.to_mint(2)
    batch = await sign_due(ctx)
    assert isinstance(batch, SignedBatch)
    first, second = (void(task) for task in batch.tasks)
    await _settle(look_at(batch, ctx), batch.lease, [first, second], left=0)
    assert await message_status(world, batch.message) == "void"


def test_only_what_is_seen_on_chain_is_measured_to_its_end(ctx: MinterContext) -> None:
    moved, (one, other) = Moved(), (a_leased_task(), a_leased_task())
    _measure(ctx, [void(one), confirmed(other)], timedelta(seconds=1))
    assert moved.by("laurel_mint_stage_seconds_count") == {
        ("mint", "sent"): 1,
        ("mint", "total"): 1,
    }


def test_a_host_whose_clock_is_behind_the_databases_takes_nothing_off_a_stage() -> None:
    moved = Moved()
    observe_stage(a_leased_task(), "queued", timedelta(seconds=-5))
    assert moved.by("laurel_mint_stage_seconds_count") == {("mint", "queued"): 1}
    assert moved.by("laurel_mint_stage_seconds_sum") == {}


async def test_a_message_with_a_confirmed_task_is_settled(ctx: MinterContext, world: World) -> None:
    await world.to_mint(2)
    batch = await sign_due(ctx)
    assert isinstance(batch, SignedBatch)
    one, other = batch.tasks
    both = [void(one), confirmed(other)]
    await _settle(look_at(batch, ctx), batch.lease, both, left=0)
    assert await message_status(world, batch.message) == "settled"


async def test_a_message_whose_tasks_end_in_two_steps_is_settled_if_one_was_confirmed(
    ctx: MinterContext, world: World
) -> None:
    """The minter that sees the last one end does not know what was confirmed before it."""
    await world.to_mint(2)
    batch = await sign_due(ctx)
    assert isinstance(batch, SignedBatch)
    one, other = batch.tasks
    await _settle(look_at(batch, ctx), batch.lease, [confirmed(one)], left=1)
    await _settle(look_at(batch, ctx), batch.lease, [void(other)], left=0)
    assert await message_status(world, batch.message) == "settled"


async def test_a_message_stays_open_while_one_of_its_tasks_is_watched(
    ctx: MinterContext, world: World
) -> None:
    await world.to_mint(2)
    batch = await sign_due(ctx)
    assert isinstance(batch, SignedBatch)
    await _settle(look_at(batch, ctx), batch.lease, [confirmed(batch.tasks[0])], left=1)
    assert await message_status(world, batch.message) == "unresolved"


async def test_whoever_signs_next_must_have_read_a_block_that_shows_what_was_settled(
    ctx: MinterContext, world: World
) -> None:
    batch = await signed_one(ctx, world)
    look = look_at(batch, ctx, blocks_later=1_000)
    await _settle(look, batch.lease, [confirmed(batch.tasks[0])], left=0)
    assert await world.value("SELECT seqno_seen FROM chain_wallet") == look.block.seqno
    await world.to_mint()
    nothing = await sign_due(ctx)
    assert isinstance(nothing, NothingSigned)
    assert nothing.reason.startswith(f"another minter has seen block {look.block.seqno}")


def void(task: LeasedTask) -> Settlement:
    return Settlement(task, TaskStatus.PENDING, TaskEvent.VOID, reason="its message expired")


def confirmed(task: LeasedTask) -> Settlement:
    return Settlement(task, TaskStatus.CONFIRMED, TaskEvent.CONFIRMED, token_id=ITEM)


async def test_a_deployment_is_sent_again_after_a_while_and_never_once_it_expired(
    ctx: MinterContext, world: World
) -> None:
    batch = await signed_one(ctx, world)
    sent_at, after = batch.message.signed_at, ctx.settings.resend_after
    second = timedelta(seconds=1)

    def due(at: datetime, last_sent_at: datetime | None) -> bool:
        look = look_at(batch, ctx)
        message = replace(look.message, last_sent_at=last_sent_at)
        return _send_due(replace(look, message=message, block=replace(look.block, time=at)))

    assert due(sent_at, None)
    assert not due(sent_at + after - second, sent_at)
    assert due(sent_at + after, sent_at)
    expires = batch.message.valid_until
    assert due(expires - second, None)
    assert not due(expires, None)
    assert not due(expires + second, sent_at)


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


async def signed_deploy(ctx: MinterContext, world: World) -> tuple[Collection, MessageRecord]:
    """Add a collection of another type, and sign its deployment."""
    type_id, code, base = await world.badge_type("author"), TypeCode("author"), "https://x.example"
    uri, prefix = metadata_uris.collection_uri(base, code), metadata_uris.item_prefix(base, code)
    contract = tokens.collection(ctx.wallet.address, uri, prefix)
    new = NewCollection(type_id, ctx.wallet_id, contract.address, uri, prefix)
    async with ctx.db.transaction() as conn:
        collection = await chain.add_collection(conn, new)
    message = await signing.sign_deploy(ctx, collection)
    assert isinstance(message, MessageRecord)
    return collection, message


async def test_a_deployment_that_expired_is_void_and_can_be_signed_again(
    hurried: MinterContext, world: World, ton: TonNetwork, lost: list[bytes]
) -> None:
    collection, message = await signed_deploy(hurried, world)
    ton.advance(hurried.settings.message_ttl + hurried.settings.expiry_margin)
    async with refreshing(hurried):
        await watch_deploy(hurried, message, collection, Stop())
    assert len(lost) <= 1, "only while it could execute"
    assert await message_status(world, message) == "void"
    assert isinstance(await signing.sign_deploy(hurried, collection), MessageRecord)


async def looked_once(
    ctx: MinterContext, message: MessageRecord, collection: Collection, at: datetime
) -> None:
    """Watch a deployment for one block, of the time `at`."""
    stop, (block, account) = Stop(), ctx.view.current

    async def one_block(seqno: int, _patience: timedelta) -> tuple[Block, Account]:
        if seqno == block.seqno:
            stop.request()
        return replace(block, time=at), account

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ctx.view, "after", one_block)
        await watch_deploy(ctx, message, collection, stop)


async def test_a_deployment_is_not_given_up_within_the_margin_after_its_expiry(
    ctx: MinterContext, world: World, lost: list[bytes]
) -> None:
    """A message that is taken into a block late still costs what it carries."""
    collection, message = await signed_deploy(ctx, world)
    margin_ends = message.valid_until + ctx.settings.expiry_margin
    await looked_once(ctx, message, collection, at=margin_ends)
    assert await message_status(world, message) == "unresolved"
    await looked_once(ctx, message, collection, at=margin_ends + timedelta(seconds=1))
    assert await message_status(world, message) == "void"
    assert lost == []


async def test_a_block_older_than_the_newest_ever_seen_proves_no_deployment_missing(
    ctx: MinterContext, world: World, lost: list[bytes]
) -> None:
    collection, message = await signed_deploy(ctx, world)
    ctx.view.seqno_seen = ctx.view.current[0].seqno + 1
    late = message.valid_until + 2 * ctx.settings.expiry_margin
    await looked_once(ctx, message, collection, at=late)
    assert await message_status(world, message) == "unresolved"
    assert lost == []


async def test_a_token_at_anothers_index_is_recorded_for_the_badge_that_it_names(
    hurried: MinterContext, world: World
) -> None:
    """A database that went back gives the index to another badge: the token's gets no second one."""
    (row,) = await world.sql("SELECT id, onchain_token_id FROM nft_instance")
    task = "SELECT id FROM nft_mint_queue WHERE nft_instance_id = :id"
    await world.sql("DELETE FROM mint_task_event")
    await world.sql(f"DELETE FROM nft_mint_queue WHERE id = ({task})", id=row.id)
    await world.sql(
        "UPDATE nft_instance SET onchain_token_id = NULL, onchain_status = 'pending' WHERE id = :id",
        id=row.id,
    )
    (other,) = await world.to_mint()
    lease, tasks = await claimed(hurried)
    batch = await signing.sign(hurried, lease, tasks, await collection_of(hurried))
    assert isinstance(batch, SignedBatch)
    await world.sql("UPDATE nft_mint_queue SET token_index = 0 WHERE status = 'sent'")
    moved = replace(batch, tasks=tuple(replace(each, token_index=0) for each in batch.tasks))
    async with refreshing(hurried):
        await watch(hurried, moved, Stop())
    assert await world.tasks(other) == ["mint pending"]
    assert await is_value(
        world, "SELECT token_index FROM nft_mint_queue WHERE status = 'pending'", None
    )
    recorded = await world.sql(
        "SELECT onchain_token_id, onchain_status FROM nft_instance WHERE id = :id", id=row.id
    )
    assert [tuple(each) for each in recorded] == [(row.onchain_token_id, "minted")]
    shut = await world.value("SELECT shut_reason FROM chain_wallet")
    assert shut == "1 indexes of explorer hold tokens that this database did not sign"


async def test_a_send_is_counted_by_what_came_of_it_and_told_with_the_others(
    hurried: MinterContext, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain that takes no messages for half an hour is no reason for a line every ten seconds."""
    batch = await signed_one(hurried, world)

    async def nobody(*_: Any) -> SendResult:
        return SendResult(SendOutcome.UNKNOWN, "no answer in time")

    monkeypatch.setattr(LiteServers, "send", nobody)
    hurried.steps.log()
    message, (block, _) = batch.message, hurried.view.current
    moved = Moved()
    with capture_logs() as lines:
        for _ in range(20):
            message = await _send(hurried, message, block)
        hurried.steps.log()
    assert moved.by("laurel_message_sends_total") == {("mint", "unknown"): 20}
    of_each = [line for line in lines if line["event"] == "message_sent"]
    assert [line["sends"] for line in of_each] == list(range(1, 21))
    assert {line["log_level"] for line in of_each} == {"debug"}
    (told,) = [line for line in lines if line["log_level"] != "debug"]
    assert (told["sends"], told["not_taken"], told["detail"]) == (20, 20, "no answer in time")


async def test_an_error_that_repeats_has_one_line_a_minute_and_none_while_its_loss_is_told(
    hurried: MinterContext,
) -> None:
    error = ChainUnreachable("a lite server that only this test knows")
    moved = Moved()
    with capture_logs() as lines:
        for _ in range(50):
            hurried.count_error(error)
        hurried.readiness.wait_for(Part.TON, "nobody answers", error.code)
        hurried.count_error(ChainUnreachable("another one"))
        hurried.count_error(AnswerRejected("this one is about something else"))
    assert moved.by("laurel_errors_total") == {("chain_unreachable",): 51, ("answer_rejected",): 1}
    assert [(line["event"], line["code"]) for line in lines if line["log_level"] == "warning"] == [
        ("step_given_up", "chain_unreachable"),
        ("ton_lost", "chain_unreachable"),
        ("step_given_up", "answer_rejected"),
    ]

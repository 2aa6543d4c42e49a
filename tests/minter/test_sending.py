"""Sends that are lost, repeated, late or answered with nothing.

What the chain shows is all that counts.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from minter.queue_decisions import go_on
from minter.startup import minter_context, minting_wallet
from minter.ton import tokens
from minter.ton.gateway import ChainUnreachable
from minter.ton.liteserver import LiteServers
from minter.ton.values import Account, Block, SendOutcome
from ops.errors import Transient, UsageError
from ops.lifecycle import Part, Readiness
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from sandbox.ton.chain import ChainOptions
from sandbox.ton.network import TonNetwork, TonOptions
from store.values.minting import TaskOperation
from tests.builders.metrics import Moved, series
from tests.builders.minters import funded, minter_on
from tests.builders.world import World, all_in, eventually, is_value, items_of, minting

TTL = timedelta(minutes=5)
VOID = "SELECT count(*) FROM chain_message WHERE status = 'void'"
ROWS = "SELECT xmin::text, run_after FROM nft_mint_queue ORDER BY id"
UNDER_WAY = "SELECT count(*) FROM chain_message WHERE status = 'unresolved'"


@pytest.fixture
def minter_settings() -> MinterSettings:
    return MinterSettings(
        poll_interval=timedelta(milliseconds=50),
        message_ttl=TTL,
        resend_after=timedelta(seconds=1),
        expiry_margin=timedelta(seconds=30),
    )


class LossyLink:
    """Stands between lite server and chain: delivers, or loses what it accepted."""

    def __init__(self, ton: TonNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loses = False
        self.copies = 1
        self.seen: list[bytes] = []
        deliver = ton.chain.submit

        def submit(boc: bytes) -> None:
            self.seen.append(boc)
            for _ in range(0 if self.loses else self.copies):
                deliver(boc)

        monkeypatch.setattr(ton.chain, "submit", submit)


@pytest.fixture
def link(ton: TonNetwork, monkeypatch: pytest.MonkeyPatch) -> LossyLink:
    return LossyLink(ton, monkeypatch)


async def test_a_lost_message_is_sent_again_byte_for_byte(
    link: LossyLink, world: World, settings: Settings
) -> None:
    async with minting(settings) as ctx:
        await all_in(world, await world.to_mint(), "active/minted")
        link.loses = True
        link.seen.clear()
        (badge,) = await world.to_mint()
        counted = "SELECT send_count >= 2 FROM chain_message WHERE status = 'unresolved'"
        await eventually(
            world, lambda: is_value(world, counted, wanted=True), "the message was sent twice"
        )
        link.loses = False
        await all_in(world, [badge], "active/minted")
        assert len(await items_of(ctx)) == 2
    assert len(set(link.seen)) == 1
    assert (
        await world.value(
            "SELECT retry_count FROM nft_mint_queue WHERE nft_instance_id = :id", id=badge.id
        )
        == 0
    )


async def test_an_expired_message_is_signed_again_with_the_same_index(
    ton: TonNetwork, link: LossyLink, world: World, settings: Settings
) -> None:
    async with minting(settings) as ctx:
        await all_in(world, await world.to_mint(), "active/minted")
        link.loses = True
        badges = await world.to_mint(2)
        await eventually(
            world,
            lambda: is_value(world, "SELECT count(*) FROM nft_mint_queue WHERE status = 'sent'", 2),
            "signed",
        )
        before = await world.sql(
            "SELECT nft_instance_id, token_index FROM nft_mint_queue ORDER BY token_index"
        )
        ton.advance(TTL + timedelta(minutes=1))
        await eventually(
            world,
            lambda: is_value(world, VOID, 1),
            "the message is void",
        )
        link.loses = False
        await all_in(world, badges, "active/minted")
        minted = await items_of(ctx)
    after = await world.sql(
        "SELECT nft_instance_id, token_index FROM nft_mint_queue ORDER BY token_index"
    )
    assert after == before
    assert len(minted) == 3
    messages = await world.sql(
        "SELECT status FROM chain_message WHERE kind = 'mint' ORDER BY query_seq"
    )
    assert [row.status for row in messages] == ["settled", "void", "settled"]
    assert await world.value("SELECT sum(retry_count) FROM nft_mint_queue") == 0
    (event,) = await world.sql(
        "SELECT DISTINCT event, details FROM mint_task_event WHERE to_status = 'pending'"
    )
    assert (event.event, event.details) == ("void", {"reason": "its message expired unexecuted"})


async def test_a_chain_that_takes_nothing_for_half_an_hour_parks_and_fails_nothing(
    ton: TonNetwork, link: LossyLink, world: World, settings: Settings
) -> None:
    burned, minted = await world.to_mint(2)
    async with minting(settings):
        await all_in(world, [burned, minted], "active/minted")
        link.loses = True
        await world.enqueue([burned], TaskOperation.BURN)
        (late,) = await world.to_mint(code="reviewer")
        # as often as a task may be signed in vain, and once more
        for expired in range(settings.minter.signatures_max + 1):
            await eventually(
                world, lambda: is_value(world, UNDER_WAY, wanted=2), "two messages are under way"
            )
            ton.advance(TTL + timedelta(minutes=1))
            both = partial(is_value, world, VOID, 2 * (expired + 1))
            await eventually(world, both, "both are void")
        link.loses = False
        await all_in(world, [burned], "burned_onchain/minted")
        await all_in(world, [late], "active/minted")
    assert await world.value("SELECT count(*) FROM nft_mint_queue WHERE status <> 'confirmed'") == 0


async def test_what_the_collection_refuses_costs_one_message(
    ton: TonNetwork, world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = tokens.mint_body

    def refused(index: int, *given: Any, **named: Any) -> Any:
        return body(index + 1_000, *given, **named)  # beyond its count: exit 402

    monkeypatch.setattr(tokens, "mint_body", refused)
    readiness = Readiness()
    badges = await world.to_mint(2)
    sent = "SELECT count(*) FROM chain_message WHERE kind = 'mint'"
    async with minting(settings, readiness):
        await eventually(world, lambda: is_value(world, f"{sent} AND send_count > 0", 1), "sent")
        for _ in range(5):
            await ton.next_block()
        ton.advance(TTL + timedelta(minutes=1))

        async def told() -> bool:
            return "collection explorer" in readiness.degraded

        await eventually(world, told, "the collection is stopped, and /ready says so")
        assert "laurel queue release --type explorer" in readiness.degraded["collection explorer"]
        assert readiness.ready
        reason = "a message was executed without any effect (mint)"
        assert series("laurel_collections_stopped") == {("explorer", reason): 1}
        await ton.next_block()
        assert await world.value(sent) == 1
    holds = await world.sql("SELECT DISTINCT status, hold_reason FROM nft_mint_queue")
    assert [tuple(row) for row in holds] == [("pending", None)]
    monkeypatch.undo()
    assert await go_on(settings, "explorer", dry_run=True) == await go_on(
        settings, "explorer", dry_run=False
    )
    async with minting(settings):
        await all_in(world, badges, "active/minted")
        assert series("laurel_collections_stopped") == {}


async def test_a_message_delivered_twice_mints_once(
    link: LossyLink, world: World, settings: Settings
) -> None:
    async with minting(settings) as ctx:
        await all_in(world, await world.to_mint(), "active/minted")
        link.copies = 2  # both are taken in: the first one has no block yet
        await all_in(world, await world.to_mint(), "active/minted")
        assert len(await items_of(ctx)) == 2


async def test_a_replayed_message_is_refused_by_the_wallet(
    world: World, settings: Settings
) -> None:
    badges = await world.to_mint()
    async with minting(settings) as ctx:
        await all_in(world, badges, "active/minted")
        result = await ctx.gateway.send(
            bytes(await world.value("SELECT boc FROM chain_message WHERE kind = 'mint'"))
        )
        assert result.outcome is SendOutcome.REJECTED
        assert "exit code 36" in result.detail
        assert len(await items_of(ctx)) == 1


async def test_an_empty_read_does_not_fail_a_task(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, empty = LiteServers.readable, 3

    async def sometimes_nothing(
        self: LiteServers, *arguments: Any, **options: Any
    ) -> list[Account | Transient]:
        nonlocal empty
        found = await read(self, *arguments, **options)
        if not found or empty == 0:
            return found
        empty -= 1
        return [Account(0, None) for _ in found]

    monkeypatch.setattr(LiteServers, "readable", sometimes_nothing)
    (badge,) = await world.to_mint()
    async with minting(settings):
        await all_in(world, [badge], "active/minted")
    assert empty == 0
    events = await world.sql("SELECT event FROM mint_task_event ORDER BY id")
    assert [row.event for row in events] == ["signed", "confirmed"]


async def test_a_wallet_without_money_signs_nothing_and_says_what_it_needs(
    ton: TonNetwork,
    database_url: str,
    mnemonic_file: Path,
    world: World,
    minter_settings: MinterSettings,
) -> None:
    chosen = minter_on(ton, database_url, mnemonic_file, minter_settings)
    badges = await world.to_mint()
    _, wallet = minting_wallet(chosen)
    readiness, moved = Readiness(), Moved()
    async with minting(chosen, readiness):

        async def insufficient_funds() -> bool:
            return Part.WALLET in readiness.waits

        await eventually(world, insufficient_funds, "the minter says that its wallet is empty")
        needed = tokens.user_friendly(wallet.address, bounceable=False)
        reason = readiness.waits[Part.WALLET]
        assert f"the wallet {needed} has 0.000 Grams, of which 1 are kept back" in reason
        assert "send it 1.282 or more" in reason
        assert moved.by("laurel_mint_not_signed_total") == {("mint", "insufficient_funds"): 1}
        assert await world.value("SELECT count(*) FROM chain_message") == 0
        leased = "SELECT count(*) FROM nft_mint_queue WHERE lease_token IS NOT NULL"
        await eventually(world, lambda: is_value(world, leased, 0), "nobody works on it")
        # Nothing is written again and again, and nobody loses a place in the queue.
        before = await world.sql(ROWS)
        for _ in range(10):
            await ton.next_block()
        assert await world.sql(ROWS) == before
        await ton.fund(wallet.address, 10 * 10**9)
        await all_in(world, badges, "active/minted")
        assert readiness.ready


async def test_an_outage_is_told_once_and_counted(
    ton: TonNetwork, database_url: str, mnemonic_file: Path, world: World
) -> None:
    """Two types without money, then a network that is silent: a line each, and one for each end."""
    hurried = MinterSettings(poll_interval=timedelta(milliseconds=20))
    chosen = minter_on(ton, database_url, mnemonic_file, hurried)
    badges = [*await world.to_mint(), *await world.to_mint(1, "quest_author")]
    _, wallet = minting_wallet(chosen)
    readiness, moved, silent = Readiness(), Moved(), False
    newest = LiteServers.newest_block

    async def newest_block(self: LiteServers) -> Block:
        if silent:
            raise ChainUnreachable("no lite server answers")
        return await newest(self)

    async def poor() -> bool:
        return sum(moved.by("laurel_mint_not_signed_total").values()) >= 2

    async def lost() -> bool:
        return moved.by("laurel_errors_total").get(("chain_unreachable",), 0) >= 5

    with pytest.MonkeyPatch.context() as patched, capture_logs() as lines:
        patched.setattr(LiteServers, "newest_block", newest_block)
        async with minting(chosen, readiness):
            await eventually(world, poor, "nothing is signed for either type")
            await ton.fund(wallet.address, 10 * 10**9)
            await all_in(world, badges, "active/minted")
            silent = True
            await eventually(world, lost, "each turn ends with an error")
            silent = False
            await eventually(world, is_ready(readiness), "the network is back")
    told = [line for line in lines if line["log_level"] in ("warning", "error")]
    assert [(line["event"], line["code"]) for line in told] == [
        ("wallet_ran_dry", "insufficient_funds"),
        ("ton_lost", "chain_unreachable"),
    ]
    ends = ("wallet_can_pay", "ton_back")
    assert [line["event"] for line in lines if line["event"] in ends] == list(ends)


def is_ready(readiness: Readiness) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return readiness.ready

    return ready


async def test_money_that_was_promised_to_a_message_is_the_next_ones_once_it_has_ended(
    ton: TonNetwork,
    database_url: str,
    mnemonic_file: Path,
    world: World,
    minter_settings: MinterSettings,
) -> None:
    """0.2 Grams of each message come back: nobody pays anything in, and none waits for that."""
    chosen = minter_on(ton, database_url, mnemonic_file, minter_settings)
    # Enough for one deployment or mint beside the reserve, not for two.
    await funded(chosen, ton, 1_500_000_000)
    badges = [await world.to_mint(1, code) for code in ("explorer", "quest_author", "reviewer")]
    async with minting(chosen):
        await all_in(world, [badge for (badge,) in badges], "active/minted")


async def test_a_burn_that_can_be_paid_does_not_wait_for_money_for_a_mint(
    world: World, settings: Settings
) -> None:
    """Also where it is the mint's turn: a burn was the last message."""
    dear = settings.minter.model_copy(update={"item_value": Decimal(1_000)})
    poor, readiness = settings.model_copy(update={"minter": dear}), Readiness()
    async with minting(settings):
        first, second = badges = await world.to_mint(2)
        await all_in(world, badges, "active/minted")
        await world.enqueue([first], TaskOperation.BURN)
        await all_in(world, [first], "burned_onchain/minted")
    await world.to_mint()
    async with minting(poor, readiness):

        async def insufficient_funds() -> bool:
            return Part.WALLET in readiness.waits

        await eventually(world, insufficient_funds, "a mint costs more than there is")
        await world.enqueue([second], TaskOperation.BURN)
        await all_in(world, [second], "burned_onchain/minted")
        assert "each mint takes 1000" in readiness.waits[Part.WALLET]


async def test_a_database_of_another_network_is_refused(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    async with minting(settings):
        pass
    options = TonOptions(
        chain=ChainOptions(seed="another"), block_interval=None, directory=tmp_path / "another"
    )
    async with TonNetwork.start(options) as other:
        elsewhere = settings.model_copy(update={"ton_config": other.config_path})
        with pytest.raises(UsageError, match="belongs to the TON network with zero state"):
            async with minter_context(elsewhere, Readiness()):
                pass


async def test_a_database_of_another_wallet_is_refused(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    from minter.ton import mnemonic

    async with minting(settings):
        pass
    mnemonic.write_new(tmp_path / "other.words")
    elsewhere = settings.model_copy(update={"wallet_mnemonic_file": tmp_path / "other.words"})
    with pytest.raises(
        UsageError, match=re.escape("LAUREL_WALLET_MNEMONIC_FILE holds the words of")
    ):
        async with minter_context(elsewhere, Readiness()):
            pass

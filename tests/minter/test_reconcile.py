"""reconcile against a local TON network.

Each difference planted by hand, named exactly, repaired where it can be.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from uuid import uuid4

import pytest
from ton_core.boc.builder import Builder

from minter.comparison import Finding, FindingKind
from minter.context import MinterContext
from minter.message_signing import NothingSigned
from minter.reconcile import Terms, _shut_or_open, reconcile
from minter.reconcile_report import ReconcileReport
from minter.ton import tokens
from minter.ton.highload_wallet import Action, MessageHeader, sign_message
from minter.ton.metadata_uris import item_suffix
from minter.ton.values import Token
from ops.settings import Settings
from sandbox.ton.accounts import user_wallet
from sandbox.ton.network import TonNetwork
from store import chain
from store.values.minting import TaskOperation
from store.values.names import RawAddress
from tests.builders.minters import sign_due
from tests.builders.world import (
    Badge,
    World,
    all_in,
    destroy,
    eventually,
    has_task,
    is_value,
    items_of,
    minting,
)

USER = 3


@dataclass(frozen=True, slots=True)
class Minted:
    """Three badges with confirmed tokens.

    The first belongs to a user of the network, who can act on chain.
    """

    ctx: MinterContext
    world: World
    badges: list[Badge]

    async def reconcile(self, *, repair: bool = False) -> ReconcileReport:
        return await reconcile(self.world.db, self.ctx.gateway, repair=repair)

    async def token_id(self, badge: Badge) -> str:
        return str(
            await self.world.value(
                "SELECT coalesce(onchain_token_id, '') FROM nft_instance WHERE id = :id",
                id=badge.id,
            )
        )

    async def send(self, ton: TonNetwork, action: Action, query_seq: int | None = None) -> None:
        """Send a message from the minting wallet behind the minter's back."""
        if query_seq is None:
            async with self.world.db.transaction() as conn:
                query_seq = await chain.take_query_seq(conn, self.ctx.wallet_id)
        block = await self.ctx.gateway.newest_block()
        message = sign_message(
            self.ctx.wallet,
            self.ctx.signer,
            [action],
            MessageHeader(query_seq, block.time, deploy=False),
        )
        await self.ctx.gateway.send(message.boc)
        for _ in range(3):
            await ton.next_block()


def named(report: ReconcileReport) -> list[tuple[str, str | None, str | None]]:
    """Return kind, badge and repair of every finding."""
    return [
        (
            each.finding.kind.value,
            str(each.finding.instance_id) if each.finding.instance_id else None,
            each.repair,
        )
        for each in report.findings
    ]


@pytest.fixture
async def minted(world: World, settings: Settings) -> AsyncIterator[Minted]:
    mine, *others = await world.badges(3, wallets=False)
    badges = [replace(mine, owner=RawAddress(str(user_wallet(USER).address))), *others]
    await world.link(badges)
    await world.enqueue(badges)
    async with minting(settings) as ctx:
        await all_in(world, badges, "active/minted")
        yield Minted(ctx, world, badges)


async def test_nothing_is_found_where_nothing_differs(minted: Minted) -> None:
    report = await minted.reconcile()
    assert (report.tokens, report.collections, report.findings) == (3, 1, ())


async def test_a_token_that_its_owner_destroyed_leaves_the_badge_burned(
    minted: Minted, ton: TonNetwork
) -> None:
    badge = minted.badges[0]
    await destroy(ton, USER, await minted.token_id(badge))
    assert named(await minted.reconcile()) == [("destroyed", str(badge.id), None)]
    assert named(await minted.reconcile(repair=True)) == [
        ("destroyed", str(badge.id), "burned_onchain")
    ]
    assert named(await minted.reconcile()) == []
    assert await minted.world.statuses([badge]) == ["burned_onchain/minted"]
    assert await minted.world.published(badge) == ["badge.minted", "badge.burned"]


async def test_a_lost_id_is_written_back(minted: Minted) -> None:
    badge = minted.badges[1]
    token_id = await minted.token_id(badge)
    await minted.world.sql(
        "UPDATE nft_instance SET onchain_token_id = NULL WHERE id = :id", id=badge.id
    )
    assert named(await minted.reconcile()) == [("lost id", str(badge.id), None)]
    assert named(await minted.reconcile(repair=True)) == [("lost id", str(badge.id), "restored")]
    assert named(await minted.reconcile()) == []
    assert await minted.token_id(badge) == token_id


async def test_a_token_that_a_restored_database_does_not_know_is_adopted(minted: Minted) -> None:
    badge = minted.badges[2]
    token_id = await minted.token_id(badge)
    # As after restoring a backup from before the mint: the badge, its task, and the collection's
    # count.
    await minted.world.sql("DELETE FROM mint_task_event")
    await minted.world.sql("DELETE FROM nft_mint_queue WHERE nft_instance_id = :id", id=badge.id)
    await minted.world.sql(
        """
        UPDATE nft_instance SET onchain_token_id = NULL, onchain_status = 'not_minted'
         WHERE id = :id
        """,
        id=badge.id,
    )
    await minted.world.sql("UPDATE chain_collection SET next_index = 2")
    assert named(await minted.reconcile()) == [
        ("unknown token", str(badge.id), None),
        ("index gap", None, None),
    ]
    assert [repair for _, _, repair in named(await minted.reconcile(repair=True))] == [
        "adopted",
        "index agreed",
    ]
    assert named(await minted.reconcile()) == []
    assert await minted.token_id(badge) == token_id
    assert await minted.world.tasks(badge) == ["mint confirmed"]
    assert await minted.world.value("SELECT next_index FROM chain_collection") == 3


async def test_a_token_revoked_by_another_hand_is_named_and_left_to_a_person(
    minted: Minted, ton: TonNetwork
) -> None:
    badge = minted.badges[1]
    token_id = RawAddress(await minted.token_id(badge))
    await minted.send(ton, Action(token_id, 30_000_000, tokens.revoke_body(0)))
    assert named(await minted.reconcile(repair=True)) == [
        ("revoked elsewhere", str(badge.id), None)
    ]
    assert await minted.world.statuses([badge]) == ["active/minted"]


async def test_a_revoked_badges_standing_token_is_found_and_burned(minted: Minted) -> None:
    """By a repair, and by the comparison of a minter alone where no burn has failed yet."""
    first, second, _ = minted.badges
    await minted.world.sql("UPDATE nft_instance SET status = 'revoked' WHERE id = :id", id=first.id)
    expected = ("standing token", str(first.id))
    assert named(await minted.reconcile()) == [(*expected, None)]
    terms = Terms(burns=True)
    report = await reconcile(minted.world.db, minted.ctx.gateway, repair=False, terms=terms)
    assert named(report) == [(*expected, "revocation asked")]
    await eventually(
        minted.world, lambda: has_task(minted.world, first, "burn confirmed"), "it is burned"
    )
    assert await minted.world.statuses([first]) == ["revoked/minted"]
    assert named(await minted.reconcile()) == []

    await minted.world.sql(
        "UPDATE nft_instance SET status = 'revoked' WHERE id = :id", id=second.id
    )
    await minted.world.sql(
        "INSERT INTO nft_mint_queue (nft_instance_id, operation, status)"
        " VALUES (:id, 'burn', 'failed')",
        id=second.id,
    )
    report = await reconcile(minted.world.db, minted.ctx.gateway, repair=False, terms=terms)
    assert named(report) == [("standing token", str(second.id), None)], "a person looks first"
    assert named(await minted.reconcile(repair=True)) == [
        ("standing token", str(second.id), "revocation asked")
    ]
    await eventually(
        minted.world, lambda: has_task(minted.world, second, "burn confirmed"), "it is burned"
    )


async def test_a_token_of_nobody_is_named_without_a_badge(minted: Minted, ton: TonNetwork) -> None:
    collection = RawAddress(await minted.world.value("SELECT address FROM chain_collection"))
    stranger = Token(minted.badges[0].owner, minted.ctx.wallet.address, "something-else.json")
    await minted.send(
        ton, Action(collection, 50_000_000, tokens.mint_body(3, stranger, 20_000_000, 0))
    )
    report = await minted.reconcile()
    assert sorted(kind for kind, _, _ in named(report)) == ["index gap", "unknown token"]
    assert {badge for _, badge, _ in named(report)} == {None}


async def test_a_second_token_is_revoked_on_a_persons_word_and_the_badge_keeps_its_own(
    minted: Minted, ton: TonNetwork
) -> None:
    badge, world, ctx = minted.badges[1], minted.world, minted.ctx
    home = RawAddress(await world.value("SELECT address FROM chain_collection"))
    own = await minted.token_id(badge)
    twin = Token(badge.owner, ctx.wallet.address, item_suffix(badge.id))
    await minted.send(ton, Action(home, 50_000_000, tokens.mint_body(3, twin, 20_000_000, 0)))
    second = ("second token", str(badge.id))
    assert named(await minted.reconcile(repair=True)) == [
        (*second, None),
        ("index gap", None, "index agreed"),
    ]
    terms = Terms(ctx.settings.expiry_margin, revoke_second=True)

    async def repaired() -> list[tuple[str, str | None, str | None]]:
        return named(await reconcile(world.db, ctx.gateway, repair=True, terms=terms))

    assert await repaired() == [(*second, "revocation asked")]
    assert await repaired() == [(*second, None)], "it is asked for once"
    ton.advance(ctx.settings.message_ttl + 2 * ctx.settings.expiry_margin)

    async def is_clean() -> bool:
        report = await reconcile(world.db, ctx.gateway, repair=True, terms=terms)
        return (report.findings, report.shut) == ((), None)

    await eventually(world, is_clean, "the second token is revoked")
    # The chain shows it before the minter has written it down.
    await eventually(
        world, lambda: has_task(world, badge, "revoke_second confirmed"), "it is confirmed"
    )
    assert [token.revoked_at > 0 for token in await items_of(ctx)] == [False, False, False, True]
    assert await world.statuses([badge]) == ["active/minted"]
    assert await minted.token_id(badge) == own
    assert await world.tasks(badge) == ["mint confirmed", "revoke_second confirmed"]
    assert await world.published(badge) == ["badge.minted"]
    await world.enqueue([badge], TaskOperation.BURN)
    await all_in(world, [badge], "burned_onchain/minted")


async def test_of_two_tokens_that_nobody_knows_the_badge_gets_the_one_that_stands(
    minted: Minted, ton: TonNetwork
) -> None:
    """The other one was revoked as the second, before the database went back."""
    badge, world = minted.badges[1], minted.world
    home = RawAddress(await world.value("SELECT address FROM chain_collection"))
    token_id = RawAddress(await minted.token_id(badge))
    twin = Token(badge.owner, minted.ctx.wallet.address, item_suffix(badge.id))
    await minted.send(ton, Action(home, 50_000_000, tokens.mint_body(3, twin, 20_000_000, 0)))
    await minted.send(ton, Action(token_id, 30_000_000, tokens.revoke_body(0)), query_seq=5_000)
    await world.sql("DELETE FROM mint_task_event")
    await world.sql("DELETE FROM nft_mint_queue WHERE nft_instance_id = :id", id=badge.id)
    await world.sql(
        """
        UPDATE nft_instance SET onchain_status = 'not_minted', onchain_token_id = NULL
         WHERE id = :id
        """,
        id=badge.id,
    )
    await minted.reconcile(repair=True)
    assert await minted.token_id(badge) == tokens.item_address(home, 3)
    # The count is agreed on by a run that finds every token with its badge.
    assert named(await minted.reconcile(repair=True)) == [("index gap", None, "index agreed")]
    assert named(await minted.reconcile()) == []


async def test_the_standing_token_of_a_revoked_badge_is_revoked(minted: Minted) -> None:
    """However it came to stand: a burn that failed, a row that was changed by hand."""
    badge, world = minted.badges[1], minted.world
    await world.sql("UPDATE nft_instance SET status = 'revoked' WHERE id = :id", id=badge.id)
    assert named(await minted.reconcile(repair=True)) == [
        ("standing token", str(badge.id), "revocation asked")
    ]

    async def is_over() -> bool:
        return named(await minted.reconcile()) == []

    await eventually(world, is_over, "the token is revoked")
    assert await world.statuses([badge]) == ["revoked/minted"]


async def test_a_collection_that_obeys_another_wallet_is_named_until_it_is_given_back(
    minted: Minted, ton: TonNetwork
) -> None:
    """Nothing else would say so before the next mint."""
    home = RawAddress(await minted.world.value("SELECT address FROM chain_collection"))
    somebody = RawAddress(str(user_wallet(USER).address))
    handed_over = Builder().store_uint(3, 32).store_uint(0, 64).store_address(somebody)
    await minted.send(ton, Action(home, 10**8, handed_over.end_cell()))
    report = await minted.reconcile(repair=True)
    assert named(report) == [("foreign collection", None, None)]
    assert report.findings[0].finding.detail.startswith(f"it obeys {somebody}")


async def test_a_minted_badge_without_a_token_on_chain_is_named(minted: Minted) -> None:
    (badge,) = await minted.world.badges(1)
    await minted.world.sql(
        """
        UPDATE nft_instance SET onchain_status = 'minted', onchain_token_id = :token
         WHERE id = :id
        """,
        id=badge.id,
        token=f"0:{'ab' * 32}",
    )
    assert named(await minted.reconcile(repair=True)) == [("missing token", str(badge.id), None)]


async def test_a_token_held_by_another_than_it_was_signed_for_is_named(minted: Minted) -> None:
    badge = minted.badges[1]
    await minted.world.sql(
        "UPDATE nft_mint_queue SET recipient = :other WHERE nft_instance_id = :id",
        id=badge.id,
        other=f"0:{'cd' * 32}",
    )
    assert named(await minted.reconcile()) == [("owner mismatch", str(badge.id), None)]


async def test_a_token_under_another_badges_name_is_named(minted: Minted) -> None:
    first, second = minted.badges[1], minted.badges[2]
    ids = [await minted.token_id(first), await minted.token_id(second)]
    await minted.world.sql(
        "UPDATE nft_instance SET onchain_token_id = NULL WHERE id = :id", id=second.id
    )
    await minted.world.sql(
        "UPDATE nft_instance SET onchain_token_id = :token WHERE id = :id",
        id=first.id,
        token=ids[1],
    )
    found = named(await minted.reconcile())
    assert ("content drift", str(first.id), None) in found


async def test_a_collection_ahead_of_the_database_signs_nothing_until_reconciled(
    minted: Minted, world: World
) -> None:
    await world.sql("UPDATE chain_collection SET next_index = 2")
    (late,) = await world.to_mint()
    await eventually(
        world,
        lambda: is_value(
            world, "SELECT hold_reason FROM nft_mint_queue WHERE status = 'pending'", "breaker"
        ),
        "the mint is held by the breaker",
    )
    assert named(await minted.reconcile(repair=True)) == [("index gap", None, "index agreed")]
    await all_in(world, [late], "active/minted")
    assert (
        await world.value(
            "SELECT token_index FROM nft_mint_queue WHERE nft_instance_id = :id", id=late.id
        )
        == 3
    )


async def test_a_burn_under_way_is_no_finding(minted: Minted) -> None:
    await minted.world.enqueue([minted.badges[2]], TaskOperation.BURN)
    assert named(await minted.reconcile()) == []


async def test_minting_under_way_is_never_a_finding(world: World, settings: Settings) -> None:
    badges = await world.to_mint(60)
    await world.enqueue(badges[::3], TaskOperation.BURN)
    found: list[ReconcileReport] = []
    async with minting(settings) as ctx:
        while await world.sql(
            "SELECT 1 FROM nft_mint_queue WHERE status IN ('pending', 'sent') LIMIT 1"
        ):
            found.append(await reconcile(world.db, ctx.gateway, repair=True))
    assert len(found) > 1
    assert [named(report) for report in found if report.findings] == []


async def forget(world: World, badge: Badge, *, task: str | None = None) -> None:
    """Let the database not know a badge's token any more, as one of before the mint.

    `task`: what it knows of the mint instead, `pending` or `sent` (at another index).
    """
    await world.sql("DELETE FROM mint_task_event")
    where = "WHERE nft_instance_id = :id"
    if task == "sent":
        await world.sql(
            f"UPDATE nft_mint_queue SET status = 'sent', token_index = 7 {where}", id=badge.id
        )
        await world.sql("UPDATE chain_message SET status = 'unresolved' WHERE kind = 'mint'")
    else:
        await world.sql(f"DELETE FROM nft_mint_queue {where}", id=badge.id)
    await world.sql(
        """
        UPDATE nft_instance SET onchain_token_id = NULL, onchain_status = 'not_minted'
         WHERE id = :id
        """,
        id=badge.id,
    )


async def test_the_count_is_not_agreed_on_beside_a_token_without_a_badge(
    minted: Minted, world: World, ton: TonNetwork
) -> None:
    """Its badge is earned again by events that are still to be counted, and would be minted."""
    collection = RawAddress(await world.value("SELECT address FROM chain_collection"))
    later = Token(minted.badges[0].owner, minted.ctx.wallet.address, f"{uuid4()}.json")
    await minted.send(
        ton, Action(collection, 50_000_000, tokens.mint_body(3, later, 20_000_000, 0))
    )
    report = await minted.reconcile(repair=True)
    assert named(report) == [("unknown token", None, None), ("index gap", None, None)]
    assert report.shut is not None
    assert await world.value("SELECT next_index FROM chain_collection") == 3


async def test_a_token_that_was_accepted_as_unknown_is_in_nobodys_way_and_keeps_its_badge(
    minted: Minted, world: World, ton: TonNetwork
) -> None:
    """Should the badge be earned after all, it gets that token and no other."""
    collection = RawAddress(await world.value("SELECT address FROM chain_collection"))
    badge = uuid4()
    token = Token(minted.badges[0].owner, minted.ctx.wallet.address, f"{badge}.json")
    await minted.send(
        ton, Action(collection, 50_000_000, tokens.mint_body(3, token, 20_000_000, 0))
    )
    terms = Terms(accept_unknown=True)
    report = await reconcile(world.db, minted.ctx.gateway, repair=True, terms=terms)
    assert named(report) == [
        ("unknown token", None, "accepted"),
        ("index gap", None, "index agreed"),
    ]
    lives = minted.ctx.settings.message_ttl + 2 * minted.ctx.settings.expiry_margin
    ton.advance(lives)
    await ton.next_block()
    report = await reconcile(world.db, minted.ctx.gateway, repair=True)
    assert (named(report), report.shut) == ([("unknown token", None, None)], None)
    type_id = await world.badge_type()
    earned = Badge(badge, uuid4(), minted.badges[0].owner)
    await world.earn([earned], type_id)
    await world.link([earned])
    await world.enqueue([earned])
    await eventually(world, lambda: has_task(world, earned, "mint pending"), "it is there")
    await eventually(
        world,
        lambda: is_value(
            world, "SELECT hold_reason FROM nft_mint_queue WHERE status = 'pending'", "breaker"
        ),
        "it is held",
    )
    report = await reconcile(world.db, minted.ctx.gateway, repair=True)
    assert named(report) == [("unknown token", str(badge), "adopted")]
    assert await world.tasks(earned) == ["mint confirmed"]


async def test_nothing_is_adopted_beside_a_message_under_way(
    world: World, ctx: MinterContext
) -> None:
    """The message may make another token; where it does not, its task is adopted with the token."""
    (row,) = await world.sql("SELECT id, user_id FROM nft_instance")
    badge = Badge(row.id, row.user_id, RawAddress("0:" + "00" * 32))
    await forget(world, badge, task="sent")
    report = await reconcile(world.db, ctx.gateway, repair=True)
    assert ("unknown token", str(badge.id), None) in named(report)
    assert report.shut is not None
    assert await world.tasks(badge) == ["mint sent"]
    await world.sql("UPDATE chain_message SET status = 'void' WHERE kind = 'mint'")
    await world.sql("UPDATE nft_mint_queue SET status = 'pending'")
    again = await reconcile(world.db, ctx.gateway, repair=True)
    assert ("unknown token", str(badge.id), "adopted") in named(again)
    assert await world.tasks(badge) == ["mint confirmed"]


async def test_a_breaker_that_nothing_stands_for_is_ended_by_a_repair(
    world: World, ctx: MinterContext
) -> None:
    await world.sql("UPDATE chain_collection SET breaker = 'the counts differ'")
    await world.to_mint()
    assert isinstance(await sign_due(ctx), NothingSigned)
    assert await is_value(
        world, "SELECT DISTINCT hold_reason FROM nft_mint_queue WHERE status = 'pending'", "breaker"
    )
    report = await reconcile(world.db, ctx.gateway, repair=True)
    assert report.findings == ()
    assert await world.value("SELECT breaker FROM chain_collection") is None
    assert await is_value(
        world, "SELECT DISTINCT hold_reason FROM nft_mint_queue WHERE status = 'pending'", None
    )


async def test_a_run_that_another_one_overtook_shuts_nothing(
    world: World, ctx: MinterContext
) -> None:
    """Two minters repair side by side: one has adopted what the other still holds for unknown."""
    token_id = RawAddress(await world.value("SELECT onchain_token_id FROM nft_instance"))
    async with world.db.transaction() as conn:
        wallet = await chain.wallet(conn)
    assert wallet is not None
    block, _ = ctx.view.current

    async def shut_for(token: RawAddress, *, asked: bool) -> tuple[bool, bool]:
        kind = FindingKind.UNKNOWN_TOKEN
        found = [Finding(kind, "explorer", None, token, 0, "as it was")]
        repaired = False if asked else None
        shut = await _shut_or_open(world.db, wallet, block, found, Terms(), repaired=repaired)
        return shut is not None, shut is not None and shut.repair_asked

    assert await shut_for(token_id, asked=True) == (False, False)
    assert await shut_for(RawAddress(f"0:{'ab' * 32}"), asked=True) == (True, True)

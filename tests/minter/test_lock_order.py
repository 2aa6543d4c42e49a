"""The minter's transactions lock tables in the one order of docs/architecture.md."""

from minter.context import MinterContext
from minter.message_signing import SignedBatch
from minter.reconcile import reconcile
from ops.settings import Settings
from store.values.minting import TaskOperation
from tests.builders.minters import sign_due
from tests.builders.world import World, all_in, minting
from tests.minter.test_signing import void
from tests.store.lock_order import Transaction, contradictions, recorded


def locked(transactions: list[Transaction]) -> set[str]:
    return set().union(*(transaction.locked for transaction in transactions))


async def test_deploying_minting_and_settling_lock_in_order(
    world: World, settings: Settings
) -> None:
    badges = await world.to_mint(2)
    with recorded() as transactions:
        async with minting(settings):
            await all_in(world, badges, "active/minted")
    assert contradictions(transactions) == []
    assert locked(transactions) >= {
        "chain_collection",
        "chain_message",
        "nft_instance",
        "nft_mint_queue",
        "outbox_sequence",
        "chain_wallet",
    }


async def test_burning_locks_in_order(world: World, settings: Settings) -> None:
    (badge,) = await world.to_mint()
    async with minting(settings):
        await all_in(world, [badge], "active/minted")
        with recorded() as transactions:
            await world.enqueue([badge], TaskOperation.BURN)
            await all_in(world, [badge], "burned_onchain/minted")
    assert contradictions(transactions) == []


async def test_adopting_a_token_locks_in_order(world: World, settings: Settings) -> None:
    (badge,) = await world.to_mint()
    async with minting(settings) as ctx:
        await all_in(world, [badge], "active/minted")
        # As after restoring a backup from before the mint.
        for forget in (
            "DELETE FROM mint_task_event",
            "DELETE FROM nft_mint_queue",
            "UPDATE nft_instance SET onchain_token_id = NULL, onchain_status = 'not_minted'",
            "UPDATE chain_collection SET next_index = 0",
        ):
            await world.sql(forget)
        with recorded() as transactions:
            await reconcile(world.db, ctx.gateway, repair=True)
    assert await world.tasks(badge) == ["mint confirmed"]
    assert contradictions(transactions) == []


async def test_signing_again_locks_in_order(ctx: MinterContext, world: World) -> None:
    """A mint that is written twice has its foreign keys checked again: of the void message too."""
    await world.to_mint(2)
    assert isinstance(await sign_due(ctx), SignedBatch)
    await void(world)
    with recorded() as transactions:
        assert isinstance(await sign_due(ctx), SignedBatch)
    assert contradictions(transactions) == []
    assert "chain_message" in locked(transactions)

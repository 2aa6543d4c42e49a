"""The daemon against a local TON network, through the real pytonlib."""

from ops.settings import Settings
from tests.minter.world import World, all_in, items_of, minting


async def test_a_badge_becomes_a_token_of_its_owner(world: World, settings: Settings) -> None:
    badges = await world.to_mint(3)
    async with minting(settings) as shop:
        await all_in(world, badges, "active/minted")
        minted = await items_of(shop)
    assert {(token.owner, token.content) for token in minted} == {(b.owner, f"{b.id}.json") for b in badges}
    assert {token.authority for token in minted} == {shop.wallet.address}
    assert await world.audit(badges[0]) == ["submitted_onchain", "minted_onchain"]
    assert await world.told(badges[0]) == ["badge.minted"]

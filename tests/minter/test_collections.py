"""Collections that the database does not know yet, found by what they will be called."""

from minter import collections
from minter.context import MinterContext
from store import chain
from tests.builders.world import World


async def test_types_whose_mints_wait_get_the_collection_that_the_wallet_deploys(
    ctx: MinterContext, world: World
) -> None:
    await world.to_mint(1, "quest_author")
    await world.badges(1, "reviewer")  # nothing waits
    async with world.db.transaction() as conn:
        wallet = (ctx.wallet_id, ctx.wallet.address)
        await collections.add_missing(conn, wallet, ctx.metadata_base_url)
        known = {str(each.type_code): each for each in await chain.collections(conn)}
    assert set(known) == {"explorer", "quest_author"}
    assert known["quest_author"].deployed_at is None
    prefix = f"{ctx.metadata_base_url}/quest_author/"
    assert known["quest_author"].item_prefix == prefix
    assert known["quest_author"].content_uri == f"{prefix}collection.json"

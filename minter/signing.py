"""From leased tasks, or a collection to deploy, to a signed message in the database."""

from collections.abc import Sequence

from minter.burn_signing import sign_burns
from minter.context import MinterContext
from minter.message_signing import (
    NothingSigned,
    Obstacle,
    SignedBatch,
    Signing,
    commit,
    find_obstacle,
    insufficient_funds,
    room_for,
)
from minter.mint_signing import sign_mints
from minter.ton import tokens
from minter.ton.highload_wallet import Action
from ops.faults import Point, reach
from store import chain
from store.chain import Collection
from store.chain_messages import MessageRecord
from store.values.minting import LeasedTask, MessageKind, TaskOperation
from store.values.names import LeaseToken


async def sign(
    ctx: MinterContext, lease: LeaseToken, tasks: Sequence[LeasedTask], collection: Collection
) -> SignedBatch | NothingSigned:
    """Sign one message for leased tasks: as many as fit, mints that hold an index already first.

    Args:
        ctx: the minter's tools.
        lease: that of the tasks.
        tasks: pending, of one type and one operation.
        collection: that type's; deployed.

    Raises:
        LeaseLost: a task was cancelled or taken over meanwhile; nothing was signed.
    """
    match tasks[0].operation:
        case TaskOperation.MINT:
            signing = Signing(ctx, MessageKind.MINT, collection, *ctx.view.current)
            return await sign_mints(signing, lease, tasks)
        case TaskOperation.BURN | TaskOperation.REVOKE_SECOND:
            signing = Signing(ctx, MessageKind.BURN, collection, *ctx.view.current)
            return await sign_burns(signing, lease, tasks)


async def sign_deploy(ctx: MinterContext, collection: Collection) -> MessageRecord | NothingSigned:
    """Sign the message that deploys a collection, and with it the wallet where that is missing."""
    signing = Signing(ctx, MessageKind.DEPLOY, collection, *ctx.view.current)
    contract = tokens.collection(ctx.wallet.address, collection.content_uri, collection.item_prefix)
    if contract.address != collection.address:
        reason = f"collection {collection.type_code} is not of this wallet"
        return NothingSigned(Obstacle.FOREIGN_COLLECTION, reason)
    value_nano = ctx.prices.value_nano(signing.kind)
    action = Action(collection.address, value_nano, None, contract.state_init)
    async with ctx.db.transaction() as conn:
        locked = await chain.lock_collection(conn, collection.id)
        if (obstacle := await find_obstacle(conn, signing, locked)) is not None:
            return obstacle
        if await room_for(conn, signing) < 1:
            return insufficient_funds(signing)
        message = await commit(conn, signing, [action])
    reach(Point.DEPLOY_SIGNED)
    return message

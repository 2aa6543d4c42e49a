"""The minter's steps at the database, without a chain."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from store import chain, chain_messages, claiming, settling
from store.chain import NewCollection, WalletIdentity
from store.chain_messages import MessageRecord, NewMessage
from store.engine import Connection, Database
from store.settlement_effects import Settlement
from store.settling import Assignment
from store.values.minting import LeasedTask, MessageKind, TaskEvent, TaskStatus
from store.values.names import LeaseToken, RawAddress
from tests.builders.world import Badge, World

TTL = timedelta(minutes=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN_ID = RawAddress("0:" + "ab" * 32)
IDENTITY = WalletIdentity(RawAddress("0:" + "11" * 32), b"k" * 32, 0x10AD, 300, b"z" * 32)


class Desk:
    """A wallet and a collection, and the minter's steps without a chain."""

    def __init__(self, world: World, wallet_id: UUID, collection_id: UUID) -> None:
        self.world = world
        self.wallet_id = wallet_id
        self.collection_id = collection_id

    async def claim(
        self, lease: LeaseToken, ttl: timedelta = TTL, limit: int = 10
    ) -> list[LeasedTask]:
        async with self.world.db.transaction() as conn:
            return await claiming.claim_due(conn, lease, ttl, limit, [])

    async def sign(
        self, lease: LeaseToken, leased: list[LeasedTask], first_index: int = 0
    ) -> MessageRecord:
        async with self.world.db.transaction() as conn:
            await chain.lock_collection(conn, self.collection_id)
            ids = [work.id for work in leased]
            await claiming.lock_references(conn, ids, self.collection_id)
            await claiming.take_reserved(conn, lease, TTL, self.collection_id)
            message = await chain_messages.add(conn, await self.new_message(conn))
            given = [
                Assignment(work, first_index + number, RawAddress("0:cc"))
                for number, work in enumerate(leased)
            ]
            await settling.sign(conn, lease, message, given)
        return message

    async def new_message(self, conn: Connection) -> NewMessage:
        return NewMessage(
            self.wallet_id,
            self.collection_id,
            MessageKind.MINT,
            await chain.take_query_seq(conn, self.wallet_id),
            NOW,
            NOW + timedelta(minutes=5),
            b"boc",
            b"hash",
        )

    async def settle(self, lease: LeaseToken, *settlements: Settlement) -> None:
        async with self.world.db.transaction() as conn:
            await settling.settle(conn, lease, settlements, NOW)

    async def expire(self) -> None:
        await self.world.sql(
            "UPDATE nft_mint_queue SET lease_expires_at = clock_timestamp() - interval '1 second'"
            " WHERE lease_token IS NOT NULL"
        )


async def opened(database: Database) -> Desk:
    """Return a desk on an empty database, with a type, its collection and a wallet."""
    world = World(database)
    type_id = await world.badge_type()
    async with database.transaction() as conn:
        wallet = await chain.register_wallet(conn, IDENTITY)
    async with database.transaction() as conn:
        collection = await chain.add_collection(
            conn, NewCollection(type_id, wallet.id, RawAddress("0:" + "22" * 32), "c", "p")
        )
    return Desk(world, wallet.id, collection.id)


async def sent(
    desk: Desk, lease: LeaseToken, count: int = 1
) -> tuple[list[Badge], list[LeasedTask], MessageRecord]:
    badges = await desk.world.to_mint(count)
    leased = await desk.claim(lease)
    message = await desk.sign(lease, leased)
    return (
        badges,
        [
            work.after_signing(message.id, number, RawAddress("0:cc"))
            for number, work in enumerate(leased)
        ],
        message,
    )


def confirmed(leased: LeasedTask) -> Settlement:
    return Settlement(leased, TaskStatus.CONFIRMED, TaskEvent.CONFIRMED, token_id=TOKEN_ID)

"""A fault that is injected is injected once, and only where it was meant."""

from uuid import uuid4

from sqlalchemy import text

from store import inspection, testing
from store.engine import Database
from tests.builders.messages import ALICE, BOB, Log, a_partner, count, with_catalog

TOKEN_OF = {ALICE: "0:" + "ab" * 32, BOB: "0:" + "cd" * 32}


async def test_a_token_id_is_dropped_once(database: Database) -> None:
    await with_catalog(database)
    log = Log()
    log.append(*(a_partner(user) for user in TOKEN_OF))
    await count(database, log)
    async with database.transaction() as conn:
        for user, token in TOKEN_OF.items():
            await conn.execute(
                text(
                    "UPDATE nft_instance SET onchain_token_id = :token, onchain_status = 'minted' "
                    "WHERE user_id = :user"
                ),
                {"token": token, "user": user},
            )
        badges = {row.user_id: row for row in (await inspection.snapshot(conn)).badges}
        assert {user: row.token_id for user, row in badges.items()} == TOKEN_OF
        assert await testing.drop_token_id(conn, badges[ALICE].id)
        rows = (await inspection.snapshot(conn)).badges
        assert {row.user_id: row.token_id for row in rows} == TOKEN_OF | {ALICE: None}
        assert not await testing.drop_token_id(conn, badges[ALICE].id)
        assert not await testing.drop_token_id(conn, uuid4())

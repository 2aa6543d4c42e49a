import pytest
from sqlalchemy import text

from store import audit
from store.engine import Database, StatementRefused
from store.values.badges import AuditAction, AuditEntry
from tests.builders.sql import column, rows


async def test_the_log_keeps_what_was_written_in_order(database: Database) -> None:
    async with database.transaction() as conn:
        await audit.append(conn, [])
        await audit.append(
            conn,
            [
                AuditEntry(None, AuditAction.CREATED, "admin", {"type_code": "explorer"}),
                AuditEntry(None, AuditAction.METADATA_UPDATED, "system", {}),
            ],
        )
    assert await rows(
        database, "SELECT action, actor_service, details FROM nft_audit_log ORDER BY action"
    ) == [
        ("created", "admin", {"type_code": "explorer"}),
        ("metadata_updated", "system", {}),
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE nft_audit_log SET actor_service = 'somebody else'",
        "UPDATE nft_audit_log SET actor_service = 'nobody' WHERE false",
        "DELETE FROM nft_audit_log",
        "TRUNCATE nft_audit_log",
        """
        INSERT INTO nft_audit_log SELECT * FROM nft_audit_log
            ON CONFLICT (id) DO UPDATE SET actor_service = 'x'
        """,
        """
        MERGE INTO nft_audit_log AS log
        USING nft_audit_log AS same ON log.id = same.id
         WHEN MATCHED THEN DELETE
        """,
    ],
)
@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_the_database_itself_refuses_to_change_the_log(
    database: Database, statement: str, role: str
) -> None:
    # The connection is the owner's, and a superuser's at that: what it may not do, nobody does by
    # mistake.
    async with database.transaction() as conn:
        await audit.append(conn, [AuditEntry(None, AuditAction.CREATED, "system", {})])

    async def tamper() -> None:
        async with database.transaction() as conn:
            await conn.execute(text(f"SET LOCAL session_replication_role = {role}"))
            await conn.execute(text(statement))

    with pytest.raises(StatementRefused, match="nft_audit_log is append only") as refused:
        await tamper()
    assert refused.value.sqlstate == "23001"
    assert await column(database, "SELECT actor_service FROM nft_audit_log") == ["system"]

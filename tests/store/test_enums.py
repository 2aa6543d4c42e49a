import re
from enum import StrEnum

import pytest
from sqlalchemy import text

from store import values
from store.engine import Database

# column -> the enumeration whose values, and no others, it may hold.
COLUMNS = {
    "nft_type.category": values.Category,
    "nft_type.default_onchain_policy": values.OnchainPolicy,
    "nft_type.onchain_min_rarity": values.Rarity,
    "nft_level_rule.rarity": values.Rarity,
    "nft_level_rule.onchain_policy": values.OnchainPolicy,
    "nft_instance.status": values.InstanceStatus,
    "nft_instance.onchain_status": values.OnchainStatus,
    "nft_mint_queue.status": values.TaskStatus,
    "nft_mint_queue.operation": values.TaskOperation,
    "nft_mint_queue.hold_reason": values.HoldReason,
    "mint_task_event.event": values.TaskEvent,
    "nft_audit_log.action": values.AuditAction,
    "mint_task_event.from_status": values.TaskStatus,
    "mint_task_event.to_status": values.TaskStatus,
    "outbox_message.event_type": values.OutboxType,
    "dead_letter.reason": values.Reason,
    "catalog_job.state": values.JobState,
    "command_log.type": values.CommandType,
    "paused_partition.reason": values.PauseReason,
    "partition_decision.pause_reason": values.PauseReason,
    "partition_decision.action": values.PartitionAction,
    "achievement.status": values.AchievementStatus,
    "achievement_grant.visibility": values.Visibility,
    "counter_definition.kind": values.CounterKind,
    "chain_message.kind": values.MessageKind,
    "chain_message.status": values.MessageStatus,
}

# column -> those of an enumeration's values that it may hold.
SOME = {
    "waiting_command.reason": {values.Reason.NO_SUCH_BADGE, values.Reason.NO_TOKEN},
    "silenced_badge.message": {values.OutboxType.BADGE_CREATED, values.OutboxType.BADGE_LEVELED_UP},
}

# The seed documents' own words.
OF_THE_SEED = {
    values.Category: "traveler pro_creator rf_reputation referral system",
    values.OnchainPolicy: "never rare_and_above by_user_request always",
    values.Rarity: "common uncommon rare epic legendary",
    values.InstanceStatus: "active revoked burned_onchain",
    values.OnchainStatus: "not_minted pending minted failed",
    values.TaskStatus: "pending sent confirmed failed",
    values.AuditAction: (
        "created level_up metadata_updated submitted_onchain minted_onchain burned_onchain revoked"
    ),
    values.AchievementStatus: "draft published hidden active",
    values.Visibility: "public private",
}


async def allowed_by_checks(database: Database) -> dict[str, set[str]]:
    """Return column -> the values of its CHECK, for every CHECK of the form `column = ANY
    (ARRAY[...])`."""
    statement = text("""
        SELECT class.relname AS table_name, pg_get_constraintdef(con.oid) AS definition
          FROM pg_constraint AS con JOIN pg_class AS class ON class.oid = conrelid
         WHERE contype = 'c' AND connamespace = 'public'::regnamespace AND cardinality(conkey) = 1
    """)
    found = {}
    async with database.transaction() as conn:
        for row in await conn.execute(statement):
            if match := re.search(r"\(?(\w+)\)?::text = ANY", row.definition):
                found[f"{row.table_name}.{match[1]}"] = set(
                    re.findall(r"'([\w.]+)'", row.definition)
                )
    return found


async def test_the_database_allows_exactly_the_enumerations(database: Database) -> None:
    assert (
        await allowed_by_checks(database)
        == {column: {member.value for member in enum} for column, enum in COLUMNS.items()} | SOME
    )


@pytest.mark.parametrize(
    ("enum", "words"), OF_THE_SEED.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_the_enumerations_are_the_seeds(enum: type[StrEnum], words: str) -> None:
    assert [member.value for member in enum] == words.split()


def test_rarities_are_ordered_from_common_to_legendary() -> None:
    assert [rarity.rank for rarity in values.Rarity] == [0, 1, 2, 3, 4]

import re
from enum import StrEnum

import pytest
from sqlalchemy import text

from store.engine import Database
from store.values.achievements import AchievementStatus, Visibility
from store.values.badges import AuditAction, InstanceStatus, OnchainStatus
from store.values.catalog import Category, CounterKind, JobState, OnchainPolicy, Rarity
from store.values.fills import FillState
from store.values.history import HistoryJobKind, HistoryJobState
from store.values.minting import (
    HoldReason,
    MessageKind,
    MessageStatus,
    TaskEvent,
    TaskOperation,
    TaskStatus,
)
from store.values.outbox import OutboxType
from store.values.shadows import RebuildState
from store.values.stream import CommandType, PartitionAction, PauseReason, Reason

# column -> the enumeration whose values, and no others, it may hold.
COLUMNS = {
    "nft_type.category": Category,
    "nft_type.default_onchain_policy": OnchainPolicy,
    "nft_type.onchain_min_rarity": Rarity,
    "nft_level_rule.rarity": Rarity,
    "nft_level_rule.onchain_policy": OnchainPolicy,
    "nft_instance.status": InstanceStatus,
    "nft_instance.onchain_status": OnchainStatus,
    "nft_mint_queue.status": TaskStatus,
    "nft_mint_queue.operation": TaskOperation,
    "nft_mint_queue.hold_reason": HoldReason,
    "mint_task_event.event": TaskEvent,
    "nft_audit_log.action": AuditAction,
    "mint_task_event.from_status": TaskStatus,
    "mint_task_event.to_status": TaskStatus,
    "outbox_message.event_type": OutboxType,
    "dead_letter.reason": Reason,
    "catalog_job.state": JobState,
    "history_job.kind": HistoryJobKind,
    "history_job.state": HistoryJobState,
    "command_log.type": CommandType,
    "paused_partition.reason": PauseReason,
    "partition_decision.pause_reason": PauseReason,
    "partition_decision.action": PartitionAction,
    "achievement.status": AchievementStatus,
    "achievement_grant.visibility": Visibility,
    "counter_definition.kind": CounterKind,
    "rebuild.state": RebuildState,
    "counter_fill.state": FillState,
    "chain_message.kind": MessageKind,
    "chain_message.status": MessageStatus,
}

# column -> those of an enumeration's values that it may hold.
SOME = {
    "waiting_command.reason": {Reason.NO_SUCH_BADGE, Reason.NO_TOKEN},
    "silenced_badge.message": {OutboxType.BADGE_CREATED, OutboxType.BADGE_LEVELED_UP},
}

# The seed documents' own words.
OF_THE_SEED = {
    Category: "traveler pro_creator rf_reputation referral system",
    OnchainPolicy: "never rare_and_above by_user_request always",
    Rarity: "common uncommon rare epic legendary",
    InstanceStatus: "active revoked burned_onchain",
    OnchainStatus: "not_minted pending minted failed",
    TaskStatus: "pending sent confirmed failed",
    AuditAction: (
        "created level_up metadata_updated submitted_onchain minted_onchain burned_onchain revoked"
    ),
    AchievementStatus: "draft published hidden active",
    Visibility: "public private",
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
    assert [rarity.rank for rarity in Rarity] == [0, 1, 2, 3, 4]

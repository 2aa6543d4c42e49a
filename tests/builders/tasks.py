"""Leased tasks that no database knows."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from store.values.minting import LeasedTask, TaskOperation, TaskStatus
from store.values.names import LeaseToken, RawAddress, TypeCode


def a_leased_task(
    operation: TaskOperation = TaskOperation.MINT,
    status: TaskStatus = TaskStatus.SENT,
    **changes: Any,
) -> LeasedTask:
    """Return a task of a badge of its own, signed once, with `changes`."""
    fields: dict[str, Any] = {
        "id": uuid4(),
        "nft_instance_id": uuid4(),
        "user_id": uuid4(),
        "type_id": uuid4(),
        "type_code": TypeCode("explorer"),
        "operation": operation,
        "status": status,
        "retry_count": 0,
        "recipient": RawAddress("0:" + "cc" * 32),
        "token_id": RawAddress("0:" + "ab" * 32) if operation is TaskOperation.BURN else None,
        "token_index": 0,
        "chain_message_id": uuid4(),
        "hold_reason": None,
        "lease": LeaseToken(uuid4()),
        "ready_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return LeasedTask(**fields | changes)

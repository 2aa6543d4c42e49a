"""Badge commands and the states of badges that they meet, as the pure rules take them."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec

from processor.batch.command_rules import (
    Accepted,
    BadgeState,
    CommandDecision,
    Repeated,
    Waits,
)
from processor.events.reader import BadgeCommand
from processor.events.rejection import Rejected
from store.values.minting import TokenState
from store.values.stream import CommandType
from tests.builders.catalogs import TENANT, USER, an_instance


def a_badge_command(
    kind: CommandType = CommandType.MINT, external_id: str = "c1", /, **changes: Any
) -> BadgeCommand:
    """A command of USER about the badge of the type `walker`; its hash says what it asks."""
    plain = BadgeCommand(
        type=kind,
        external_id=external_id,
        user_id=USER,
        type_code="walker",
        instance_id=None,
        reason=None,
        content_hash=b"",
        actor="connect_service",
        tenant_id=TENANT,
    )
    command = msgspec.structs.replace(plain, **changes)
    said = f"{command.type} {command.user_id} {command.type_code} {command.instance_id}"
    return msgspec.structs.replace(
        command, content_hash=f"{said} {command.reason} {command.level}".encode()
    )


def a_badge_state(
    *, mint_open: bool = False, burn_open: bool = False, burned: bool = False, **instance: Any
) -> BadgeState:
    """The state of an_instance(**instance) before any command."""
    return BadgeState.of(
        an_instance(**instance), TokenState(mint_open, burn_open, burned), minting=False
    )


def other_badge(badge: BadgeState, number: int, **changes: Any) -> BadgeState:
    """The same badge under another id."""
    return replace(badge, instance=replace(badge.instance, id=UUID(int=number), **changes))


def said(decision: CommandDecision) -> str:
    """The decision in a word: what is asked for, or why not."""
    match decision:
        case Accepted():
            names = [
                name for name in ("award", "mint", "burn", "revoke") if getattr(decision, name)
            ]
            return "+".join(names) or "nothing to do"
        case Repeated():
            return "repeated"
        case Rejected():
            return decision.reason.value
        case Waits():
            again = " again" if decision.again else ""
            return f"waits{again}: {decision.rejected.reason.value}"

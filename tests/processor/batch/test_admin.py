"""A person's request is the command that Kafka would have brought, and is answered at once."""

import asyncio
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from cli import main
from ops.errors import UsageError
from ops.settings import DEFAULT_TENANT, Settings
from processor.batch import admin
from processor.batch.admin import BadgeRequest, CommandRejected
from processor.events.message_schema import ID_LENGTH_MAX, TEXT_LENGTH_MAX
from store.engine import Database
from tests.builders.messages import ALICE, Log, a_command, a_partner, count
from tests.builders.reading import a_read_chunk


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("mint", {}),
        ("burn", {}),
        ("revoke", {"reason": "bought accounts"}),
        ("award", {}),
        ("award", {"reason": "won the contest", "level": 2}),
    ],
)
def test_a_request_repeats_the_same_command_from_kafka(kind: str, more: dict[str, Any]) -> None:
    data = {"type_code": "ambassador"} | more
    (placed,) = a_read_chunk(a_command(kind, ALICE, "ticket-7", **data)).commands
    request = BadgeRequest(f"badge.{kind}", ALICE, "ambassador", "ticket-7", **more)
    given = request.command(DEFAULT_TENANT)
    assert given.content_hash == placed.command.content_hash
    by_kafka = {"actor": "admin", "event_id": None}
    assert given == msgspec.structs.replace(placed.command, **by_kafka)


def test_without_an_id_each_request_is_a_command_of_its_own() -> None:
    request = BadgeRequest("badge.mint", ALICE, "ambassador")
    one, two = request.command(DEFAULT_TENANT), request.command(DEFAULT_TENANT)
    assert one.external_id.startswith("admin-")
    assert one.external_id != two.external_id


@pytest.mark.parametrize("external_id", ["", "x" * (ID_LENGTH_MAX + 1), "a\x00b"])
def test_an_id_that_is_none_is_rejected(external_id: str) -> None:
    with pytest.raises(UsageError, match="--external-id"):
        BadgeRequest("badge.mint", ALICE, "ambassador", external_id).command(DEFAULT_TENANT)
    longest = BadgeRequest("badge.mint", ALICE, "ambassador", "x" * ID_LENGTH_MAX)
    assert longest.command(DEFAULT_TENANT).external_id == "x" * ID_LENGTH_MAX


@pytest.mark.parametrize("reason", ["", "x" * (TEXT_LENGTH_MAX + 1)])
def test_a_reason_that_nobody_would_read_is_rejected(reason: str) -> None:
    with pytest.raises(UsageError, match="--reason"):
        BadgeRequest("badge.revoke", ALICE, "ambassador", reason=reason).command(DEFAULT_TENANT)
    longest = BadgeRequest("badge.revoke", ALICE, "ambassador", reason="x" * TEXT_LENGTH_MAX)
    assert longest.command(DEFAULT_TENANT).reason == longest.reason


async def test_a_request_says_what_was_done_and_why_not(
    counting: Database, database_url: str
) -> None:
    log = Log()
    log.append(a_partner(ALICE))
    await count(counting, log)
    settings = Settings(database_url=database_url)
    done = await admin.apply(settings, BadgeRequest("badge.mint", ALICE, "ambassador", "ticket-7"))
    assert done == {
        "external_id": "ticket-7",
        "type": "badge.mint",
        "user_id": str(ALICE),
        "type_code": "ambassador",
        # What a person is asked next: why there is no token.
        "badge": {
            "status": "active",
            "onchain_status": "not_minted",
            "task": "mint",
            "task_status": "pending",
            "hold": "no_wallet",
        },
    }
    said = CliRunner(env={"LAUREL_DATABASE_URL": database_url})
    line = ["badge", "mint", str(ALICE), "ambassador"]
    again = await asyncio.to_thread(said.invoke, main, line)
    assert again.stdout.splitlines()[1] == (
        "The badge is active, not_minted; its mint is pending, held: no_wallet"
    )
    with pytest.raises(CommandRejected, match=r"badge\.burn: the user has no such badge") as caught:
        await admin.apply(settings, BadgeRequest("badge.burn", ALICE, "explorer"))
    assert caught.value.details["reason"] == "no_such_badge"

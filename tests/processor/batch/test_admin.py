"""A person's request is the command that Kafka would have brought, and is answered at once."""

import pytest

from ops.errors import UsageError
from ops.settings import Settings
from processor.batch import admin
from processor.batch.admin import BadgeRequest, CommandRejected
from processor.events.message_schema import ID_LENGTH_MAX
from store.engine import Database
from tests.builders.messages import ALICE, Log, a_command, a_partner, count
from tests.builders.reading import a_read_chunk


@pytest.mark.parametrize(
    ("kind", "reason"), [("mint", None), ("burn", None), ("revoke", "bought accounts")]
)
def test_a_request_repeats_the_same_command_from_kafka(kind: str, reason: str | None) -> None:
    data = {"type_code": "ambassador"} | ({} if reason is None else {"reason": reason})
    (placed,) = a_read_chunk(a_command(kind, ALICE, "ticket-7", **data)).commands
    request = BadgeRequest(f"badge.{kind}", ALICE, "ambassador", "ticket-7", reason)
    given = request.command()
    assert given.content_hash == placed.command.content_hash
    assert (given.type, given.external_id, given.user_id, given.type_code, given.reason) == (
        placed.command.type,
        "ticket-7",
        ALICE,
        "ambassador",
        reason,
    )
    assert given.actor == "admin"


def test_without_an_id_each_request_is_a_command_of_its_own() -> None:
    request = BadgeRequest("badge.mint", ALICE, "ambassador")
    one, two = request.command(), request.command()
    assert one.external_id.startswith("admin-")
    assert one.external_id != two.external_id


@pytest.mark.parametrize("external_id", ["x" * (ID_LENGTH_MAX + 1), "a\x00b"])
def test_an_id_that_the_database_cannot_hold_is_rejected(external_id: str) -> None:
    with pytest.raises(UsageError, match="--external-id"):
        BadgeRequest("badge.mint", ALICE, "ambassador", external_id).command()
    longest = BadgeRequest("badge.mint", ALICE, "ambassador", "x" * ID_LENGTH_MAX)
    assert longest.command().external_id == "x" * ID_LENGTH_MAX


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
    }
    with pytest.raises(CommandRejected, match=r"badge\.burn: the user has no such badge") as caught:
        await admin.apply(settings, BadgeRequest("badge.burn", ALICE, "explorer"))
    assert caught.value.details["reason"] == "no_such_badge"

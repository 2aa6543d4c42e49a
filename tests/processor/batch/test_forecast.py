"""What a worker would say of a message is what it says of it."""

from typing import Any

import pytest

from processor.batch.forecast import Forecast
from processor.events.chunks import PlainRecord
from processor.events.event import Event
from processor.events.reader import BadgeCommand, Parsed
from processor.events.rejection import Rejected
from store.engine import Database
from tests.builders.messages import ALICE, NOW, Log, a_command, a_partner, count, encoded
from tests.builders.reading import READER
from tests.builders.sql import rows

RECORD_BYTES_MAX = 5_000
FORECAST = Forecast(READER, RECORD_BYTES_MAX)


def foretold(message: dict[str, Any], topic: str | None = None) -> Parsed:
    return FORECAST.of(PlainRecord(0, encoded(message)), NOW, topic)


@pytest.mark.parametrize("named", [{"type_code": "explorer"}, {"instance_id": str(ALICE)}])
def test_whether_there_is_such_a_badge_only_the_worker_knows(named: dict[str, str]) -> None:
    assert isinstance(foretold(a_command("mint", ALICE, "m1", **named)), BadgeCommand)


def test_an_event_is_what_the_reader_makes_of_it() -> None:
    assert isinstance(foretold(a_partner(ALICE)), Event)
    assert isinstance(foretold(a_partner(ALICE), "quests"), Rejected)


def test_what_is_too_large_is_not_read() -> None:
    found = foretold(a_partner(ALICE) | {"note": "x" * RECORD_BYTES_MAX})
    assert isinstance(found, Rejected)
    assert found.reason == "too_large"


@pytest.mark.parametrize(
    "command",
    [
        a_command("award", ALICE, "a1", type_code="explorr"),
        a_command("award", ALICE, "a1", type_code="explorer", level=9),
        a_command("mint", ALICE, "a1", type_code="explorr"),
        a_command("burn", ALICE, "a1", type_code="explorr", instance_id=str(ALICE)),
        a_command("revoke", ALICE, "a1", type_code="explorr", reason="bought accounts"),
    ],
)
async def test_what_the_catalog_does_not_know_becomes_the_dead_letter_that_was_foretold(
    counting: Database, command: dict[str, Any]
) -> None:
    log = Log()
    log.append(command)
    await count(counting, log)
    found = foretold(command)
    assert isinstance(found, Rejected)
    assert await rows(counting, "SELECT reason, detail FROM dead_letter") == [
        (found.reason, found.detail)
    ]

"""Wallet changes and commands of history are carried out after the events, each once."""

from collections.abc import Iterable, Mapping
from typing import Any

from ops.lifecycle import Stop
from ops.settings import Settings
from processor.events.chunks import PlainRecord
from processor.history.kept_records import OtherRecord
from processor.history.other_records import OthersDone, carry_out
from processor.history.slice_transaction import Speech
from store.engine import Database
from store.mint_queue import PRIORITY_OF_HISTORY
from tests.builders.clock import FakeClock
from tests.builders.messages import ALICE, BOB, NOW, a_command, a_wallet, an_address, encoded
from tests.builders.sql import rows

DIGEST = bytes(32)
LEDGER = "SELECT topic, next_offset FROM offset_ledger ORDER BY topic"


def others(messages: Iterable[Mapping[str, Any]]) -> list[OtherRecord]:
    """Return messages at the places 10, 12, ..."""
    return [
        OtherRecord(place, None, PlainRecord(0, encoded(each)))
        for place, each in zip(range(10, 10_000, 2), messages, strict=False)
    ]


async def done(
    database: Database, listed: Iterable[OtherRecord], speech: Speech | None = None
) -> OthersDone:
    return await carry_out(
        database, Settings(), DIGEST, listed, speech or Speech(), Stop(), FakeClock(NOW)
    )


async def test_each_is_carried_out_once_and_what_is_refused_is_named(counting: Database) -> None:
    messages = [
        a_wallet(ALICE, an_address(1)),
        a_command("award", ALICE, "one", type_code="explorer", level=1),
        a_command("award", BOB, "two", type_code="nothing"),
    ]
    listed = others(messages)
    first = await done(counting, listed)
    assert first.finished
    assert (first.taken, [each[:2] for each in first.rejected]) == (
        2,
        [(14, "unknown_badge_type")],
    )
    assert await done(counting, listed) == OthersDone(finished=True)
    badges = "SELECT user_id, current_level, onchain_status FROM nft_instance"
    assert await rows(counting, badges) == [(ALICE, 1, "not_minted")]
    assert await rows(counting, LEDGER) == [(f"history:{DIGEST.hex()}", 15)]


async def test_a_run_goes_on_where_another_stopped(counting: Database) -> None:
    listed = others(a_wallet(ALICE, an_address(number)) for number in range(4))
    assert (await done(counting, listed[:2])).taken == 2
    assert (await done(counting, listed)).taken == 2
    assert len(await rows(counting, "SELECT FROM user_wallet")) == 4


async def test_what_was_done_in_silence_is_said_once_it_is_given_aloud(counting: Database) -> None:
    listed = others([a_command("award", ALICE, "one", type_code="explorer", level=1)])
    await done(counting, listed)
    said = "SELECT event_type FROM outbox_message"
    assert await rows(counting, said) == []
    for _ in range(2):
        await done(counting, listed, Speech(publish=True, mint=True))
        assert await rows(counting, said) == [("badge.created",)]


async def test_what_history_asks_for_is_minted_last(counting: Database) -> None:
    award = a_command("award", ALICE, "one", type_code="ambassador", level=3)
    await done(counting, others([award]), Speech(mint=True))
    tasks = await rows(counting, "SELECT priority, hold_reason FROM nft_mint_queue")
    assert tasks == [(PRIORITY_OF_HISTORY, "no_wallet")]


async def test_nothing_leaves_no_trace(counting: Database) -> None:
    assert await done(counting, []) == OthersDone(finished=True)
    assert await rows(counting, LEDGER) == []

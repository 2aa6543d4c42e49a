"""`laurel backfill`: a file counts like the stream, once, and a broken one not at all."""

import asyncio
import re
import threading
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from ops.errors import UsageError
from ops.lifecycle import Stop
from ops.setting_parts import WorkerSettings
from ops.settings import Settings
from processor.events.records import HEAD_BYTES
from processor.history import backfill as filling
from processor.history import lines
from processor.history.backfill import (
    BackfillOptions,
    BackfillReport,
    LinesRefused,
    ProgressLines,
)
from store.engine import Database
from store.rights import RightsMissing
from tests.builders.clock import FakeClock
from tests.builders.messages import ALICE, BOB, Log, a_partner, a_pipeline, count, encoded
from tests.builders.metrics import Moved
from tests.builders.patience import PATIENCE_S
from tests.builders.roles import a_role


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(
        database_url=database_url, worker=WorkerSettings(batch_records_max=4, chunk_records_max=2)
    )


def a_file(path: Path, *messages: dict[str, Any] | bytes) -> Path:
    path.write_bytes(b"".join((encoded(message) or b"") + b"\n" for message in messages))
    return path


async def backfill(settings: Settings, path: Path, **options: bool) -> BackfillReport:
    return await filling.backfill(
        settings, path, BackfillOptions(**options), Stop(), ProgressLines(lambda _line: None)
    )


async def invited(database: Database) -> int:
    async with database.transaction() as conn:
        found = await conn.execute(
            text("SELECT coalesce(sum((counters->>'partners_invited')::int), 0) FROM nft_progress")
        )
        return int(found.scalar_one())


async def number_of(database: Database, table: str) -> int:
    async with database.transaction() as conn:
        return int((await conn.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def test_a_file_counts_once_however_often_it_is_given(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(11)))
    first = await backfill(settings, path)
    second = await backfill(settings, path)
    assert (first.lines, first.counted, first.levels, first.finished) == (11, 11, 2, True)
    assert (second.resumed_at, second.lines, second.finished) == (11, 0, True)
    assert await invited(counting) == 11


async def test_what_the_stream_has_counted_is_not_counted_again(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    events = [a_partner(ALICE) for _ in range(5)]
    log = Log()
    log.append(*events[:3])
    await count(counting, log, await a_pipeline(counting))
    report = await backfill(settings, a_file(tmp_path / "overlap.jsonl", *events))
    assert (report.counted, report.duplicates) == (2, 3)
    assert await invited(counting) == 5


async def test_history_is_silent_unless_asked(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(6)))
    await backfill(settings, path)
    assert (
        await number_of(counting, "outbox_message"),
        await number_of(counting, "nft_mint_queue"),
    ) == (0, 0)


async def test_history_speaks_and_mints_when_asked(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(6)))
    await backfill(settings, path, publish=True, mint=True)
    assert await number_of(counting, "outbox_message") > 0
    assert await number_of(counting, "nft_mint_queue") == 1


class BusyClock(FakeClock):
    """Two seconds pass before anybody looks: every batch is said, and Ctrl-C comes at the first."""

    def monotonic(self) -> float:
        self.advance(timedelta(seconds=2))
        return super().monotonic()


async def test_an_interrupted_run_goes_on_where_it_stopped(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(20)))
    stop = Stop()

    def interrupt(line: str) -> None:
        if "counted" in line:
            stop.request()

    progress = ProgressLines(interrupt, BusyClock())
    first = await filling.backfill(settings, path, BackfillOptions(), stop, progress)
    second = await backfill(settings, path)
    assert (first.finished, second.resumed_at, second.finished) == (False, first.lines, True)
    assert 0 < first.lines < 20
    assert await invited(counting) == 20


async def test_a_file_that_changed_since_is_refused(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(4)))
    await backfill(settings, path)
    a_file(path, *(a_partner(ALICE) for _ in range(8)))
    with pytest.raises(UsageError, match=r"history\.jsonl:4: an earlier run counted 4 lines"):
        await backfill(settings, path)
    assert await invited(counting) == 4


async def test_a_file_with_another_line_before_the_last_that_was_counted_is_refused(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    """Corrected, or written anew: what stands there now was never counted."""
    events = [a_partner(ALICE) for _ in range(6)]
    path = a_file(tmp_path / "history.jsonl", *events[:4])
    await backfill(settings, path)
    a_file(path, a_partner(BOB), *events[1:])
    with pytest.raises(UsageError, match=r"history\.jsonl:4: an earlier run counted 4 lines"):
        await backfill(settings, path)
    a_file(path, *events)
    assert (await backfill(settings, path)).counted == 2


async def test_what_is_written_after_the_look_waits_for_the_next_run(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    """Nobody has looked at it; it may be half of a line."""
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(4)))
    more = encoded(a_partner(ALICE)) or b""

    def write(line: str) -> None:
        if line.startswith("4 lines read"):
            with path.open("ab") as file:
                file.write(more[:50])

    progress = ProgressLines(write, BusyClock())
    first = await filling.backfill(settings, path, BackfillOptions(), Stop(), progress)
    assert (first.lines, first.broken, first.finished) == (4, 0, True)
    with path.open("ab") as file:
        file.write(more[50:])
    assert (await backfill(settings, path)).counted == 1
    assert await number_of(counting, "dead_letter") == 0


async def test_more_lines_at_the_end_are_counted(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(4)))
    await backfill(settings, path)
    with path.open("ab") as file:
        file.write((encoded(a_partner(ALICE)) or b"") + b"\n")
    report = await backfill(settings, path)
    assert (report.resumed_at, report.counted) == (4, 1)


async def test_blank_lines_are_no_events_and_no_fault(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    """Also where a chunk ends, at the end of the file, and where a run goes on after them."""
    path = tmp_path / "history.jsonl"
    lines = [encoded(a_partner(ALICE)) or b"" for _ in range(9)]
    gaps = [b"\n" * (number % 3) for number in range(9)]
    path.write_bytes(b"".join(gap + line + b"\r\n" for gap, line in zip(gaps, lines, strict=True)))
    first = await backfill(settings, path)
    with path.open("ab") as file:
        file.write(b"\n\n" + (encoded(a_partner(ALICE)) or b"") + b"\n\n")
    second = await backfill(settings, path)
    third = await backfill(settings, path)
    assert (first.counted, first.broken, second.counted, third.counted) == (9, 0, 1, 0)
    assert await invited(counting) == 10


async def test_broken_lines_may_become_dead_letters(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "mixed.jsonl", a_partner(ALICE), b"{broken", a_partner(ALICE))
    report = await backfill(settings, path, dead_letter=True)
    assert (report.counted, report.broken, dict(report.reasons)) == (2, 1, {"not_json": 1})
    assert report.examples[0].startswith(f"{path}:2: not_json: ")
    assert await number_of(counting, "dead_letter") == 1


async def test_a_file_that_uses_an_id_for_two_events_is_broken(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    """In the same chunk, and in a later one."""
    first, other = a_partner(ALICE), a_partner(ALICE)
    near, far = (event | {"subject": str(BOB)} for event in (first, other))
    path = a_file(tmp_path / "x.jsonl", first, near, other, first, a_partner(ALICE), far)
    with pytest.raises(
        UsageError, match=r"has 2 broken lines; nothing(.|\n)*:2: event_id_conflict"
    ):
        await backfill(settings, path)
    expected = (3, 1, {"event_id_conflict": 2})
    dry = await backfill(settings, path, dry_run=True)
    assert (dry.counted, dry.duplicates, dict(dry.reasons)) == expected
    report = await backfill(settings, path, dead_letter=True)
    assert (report.counted, report.duplicates, dict(report.reasons)) == expected
    assert await invited(counting) == 3
    assert await number_of(counting, "dead_letter") == 2


async def test_a_dry_run_writes_nothing(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    event = a_partner(ALICE)
    report = await backfill(
        settings, a_file(tmp_path / "x.jsonl", event, event, b"{"), dry_run=True
    )
    assert (report.lines, report.counted, report.duplicates, report.broken) == (3, 1, 1, 1)
    tables = ("nft_progress", "processed_event", "offset_ledger", "dead_letter")
    assert [await number_of(counting, table) for table in tables] == [0, 0, 0, 0]


async def test_progress_is_said_every_two_seconds_and_never_without_work() -> None:
    said: list[str] = []
    clock = FakeClock()
    progress = ProgressLines(said.append, clock)
    for reached, seconds in ((10, 0.5), (20, 1.25), (30, 0.25), (40, 1.75), (50, 5)):
        clock.advance(timedelta(seconds=seconds))
        await progress.reached(reached, "read")
    assert said == ["30 lines read, 2 s", "50 lines read, 9 s"]
    assert progress.seconds == 8.75
    # Each time the event loop ran, so that a signal is seen; nobody waited.
    assert clock.slept == [timedelta(0)] * 5


async def test_where_it_is_known_how_much_there_is_progress_says_what_is_left() -> None:
    said: list[str] = []
    clock = FakeClock()
    progress = ProgressLines(said.append, clock)
    clock.advance(timedelta(seconds=1))
    await progress.reached(600, "read")  # reading is faster, and says nothing about counting
    for number in (200, 300, 600):
        clock.advance(timedelta(seconds=20))
        await progress.reached(number, "counted", 600)
    assert said == [
        "200 lines counted, 21 s",
        "300 lines counted, 41 s; 50% of 600, about 60 s left",
        "600 lines counted, 61 s; 100% of 600, about 0 s left",
    ]


async def test_a_role_that_may_not_count_is_told_before_anything_is_read(
    counting: Database, settings: Settings, tmp_path: Path, database_url: str
) -> None:
    path = a_file(tmp_path / "history.jsonl", a_partner(ALICE))
    async with a_role(counting, database_url) as role:
        await role.grant("USAGE ON SCHEMA public")
        await role.grant("SELECT ON ALL TABLES IN SCHEMA public")
        limited = settings.model_copy(update={"database_url": SecretStr(role.url)})
        with pytest.raises(RightsMissing, match="GRANT DELETE, INSERT, UPDATE ON"):
            await backfill(limited, path)
        # It writes nothing.
        assert (await backfill(limited, path, dry_run=True)).counted == 1


def a_long_line(megabytes: int) -> bytes:
    """An event with more beside it than anybody reads."""
    return encoded(a_partner(ALICE) | {"filler": "x" * (megabytes << 20)}) or b""


async def test_a_line_of_any_length_is_a_dead_letter_and_the_others_count(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    long = a_long_line(20)
    path = a_file(tmp_path / "long.jsonl", a_partner(ALICE), long, a_partner(ALICE))
    with pytest.raises(UsageError, match=r"long\.jsonl:2: too_large: .* bytes"):
        await backfill(settings, path)
    report = await backfill(settings, path, dead_letter=True)
    again = await backfill(settings, path, dead_letter=True)
    assert (report.lines, report.counted, report.broken) == (3, 2, 1)
    assert (again.resumed_at, again.lines) == (3, 0)
    assert await invited(counting) == 2
    async with counting.transaction() as conn:
        letters = await conn.execute(
            text('SELECT "offset", reason, value, value_length, value_sha256 FROM dead_letter')
        )
        assert letters.one() == (
            1,
            "too_large",
            long[:HEAD_BYTES],
            len(long),
            sha256(long).digest(),
        )


async def test_a_run_goes_on_behind_a_long_line(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    """It is known again by its checksum, though nobody has held it."""
    long = a_long_line(2)
    path = a_file(tmp_path / "long.jsonl", a_partner(ALICE), long)
    await backfill(settings, path, dead_letter=True)
    with path.open("ab") as file:
        file.write(encoded(a_partner(ALICE)) or b"")
    report = await backfill(settings, path, dead_letter=True)
    assert (report.resumed_at, report.lines, report.counted) == (2, 1, 1)
    other = a_file(tmp_path / "other.jsonl", a_partner(ALICE), long)
    await backfill(settings, other, dead_letter=True)
    a_file(other, a_partner(ALICE), long.replace(b"x", b"y", 1), a_partner(ALICE))
    with pytest.raises(UsageError, match="has changed since"):
        await backfill(settings, other, dead_letter=True)


async def test_a_signal_and_the_database_are_heard_while_a_long_line_is_read(
    counting: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the line waits here, between two parts of it, for the event loop to turn."""
    turned = threading.Event()
    parts: list[int] = []

    def read_on() -> None:
        loop.call_soon_threadsafe(turned.set)
        assert turned.wait(PATIENCE_S), "the loop is held by a line"
        turned.clear()
        parts.append(len(parts))

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(lines, "went_on", read_on)
    path = a_file(tmp_path / "long.jsonl", a_long_line(8), a_partner(ALICE))
    report = await backfill(settings, path, dead_letter=True)
    assert (report.broken, report.counted) == (1, 1)
    assert len(parts) >= 8
    assert await invited(counting) == 1


async def test_where_postgresql_refuses_line_after_line_the_place_and_the_way_out_are_named(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    """A trigger here; mended, the same command goes on with the line that is named."""
    await refuse(counting, BOB)
    lines = [*(a_partner(ALICE) for _ in range(3)), *(a_partner(BOB) for _ in range(3))]
    path = a_file(tmp_path / "history.jsonl", *lines)
    with pytest.raises(LinesRefused, match="not today") as refused:
        await backfill(settings, path)
    assert refused.value.message.startswith(f"{path}:5: ")
    assert "run the same command again" in refused.value.message
    assert await number_of(counting, "dead_letter") == 1
    async with counting.transaction() as conn:
        await conn.execute(text("DROP TRIGGER refuse ON nft_progress"))
    report = await backfill(settings, path)
    assert (report.resumed_at, report.counted, report.finished) == (4, 2, True)
    assert await invited(counting) == 5


async def refuse(database: Database, who: UUID) -> None:
    """Let a constraint stand against every row of `who`."""
    async with database.transaction() as conn:
        await conn.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = 'check_violation'; END $$"
            )
        )
        await conn.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON nft_progress FOR EACH ROW "
                f"WHEN (NEW.user_id = '{who}') EXECUTE FUNCTION refuse()"
            )
        )


async def test_dead_letters_are_given_again_as_the_runbook_says(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    """A type that the catalog did not declare; here what lacked was one letter of its name."""
    page = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text()
    (statement,) = re.findall(r'again\.jsonl -c "(SELECT [^"]+)"', page)
    log = Log()
    event = a_partner(ALICE) | {"data": {"partner_id": "Grüße, \n\u2028", "sum": 0.1}}
    log.append(event | {"type": "partner.joinde"}, b"{}", topic="laurel.partners")
    await count(counting, log)
    async with counting.transaction() as conn:
        printed = text(f"SELECT CAST(found AS text) FROM ({statement}) AS letters (found)")
        given = list((await conn.execute(printed)).scalars())
    path = tmp_path / "again.jsonl"
    path.write_text("".join(f"{line}\n".replace("joinde", "joined") for line in given))
    report = await backfill(settings, path, publish=True, mint=True)
    assert (report.lines, report.counted, report.levels) == (1, 1, 1)
    assert await invited(counting) == 1


async def test_a_files_dead_letters_are_told_under_one_name_and_no_age_of_its_lines(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    """Each file's path would be a series of its own, and a line has no timestamp but its checksum."""
    path = a_file(tmp_path / "history.jsonl", a_partner(ALICE), b"{", a_partner(BOB))
    moved = Moved()
    await backfill(settings, path, dead_letter=True)
    assert moved.by("laurel_dead_letters_total") == {("file", "not_json"): 1}
    assert moved.by("laurel_batch_records_sum") == {(): 3}
    assert moved.by("laurel_event_age_seconds_count") == {}

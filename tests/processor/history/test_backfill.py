"""`laurel backfill`: history counts like the stream, each event once, and what is broken is named."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from ops.errors import UsageError
from ops.lifecycle import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Stop
from ops.settings import Settings
from processor.history import backfill as backfilling
from processor.history.backfill import (
    EXAMPLES_MAX,
    BackfillOptions,
    ProgressLines,
    RecordsRefused,
)
from processor.history.inputs.reading import Inputs, inputs_of
from processor.history.pieces import Piece
from store import catalogs
from store.engine import Database
from store.rights import RightsMissing
from tests.builders.backfills import a_file, backfill, lines
from tests.builders.catalogs import a_catalog
from tests.builders.clock import FakeClock
from tests.builders.messages import (
    ALICE,
    BOB,
    Log,
    a_command,
    a_partner,
    a_pipeline,
    a_visit,
    a_wallet,
    an_address,
    count,
    user,
)
from tests.builders.roles import a_role


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url)


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
    first = (await backfill(settings, path)).load
    second = (await backfill(settings, path)).load
    assert (first.read, first.counted, first.finished) == (11, 11, True)
    assert first.levels == {("ambassador", 3): 1}
    assert (second.read, second.counted, second.known, second.finished) == (11, 0, 11, True)
    assert not second.levels
    assert await invited(counting) == 11


async def test_sources_of_every_kind_are_one_history(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    events = [a_partner(ALICE) for _ in range(9)]
    a_file(tmp_path / "a.jsonl", *events[:4])
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines(*events[2:6])))
    later = tmp_path / "later"
    later.mkdir()
    a_file(later / "c.ndjson", *events[5:])
    report = (await backfill(settings, tmp_path / "a.jsonl", tmp_path)).load
    assert (report.read, report.counted, report.repeated) == (12, 9, 3)
    assert await invited(counting) == 9


async def test_what_the_stream_has_counted_is_not_counted_again(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    events = [a_partner(ALICE) for _ in range(5)]
    log = Log()
    log.append(*events[:3])
    await count(counting, log, await a_pipeline(counting))
    report = (await backfill(settings, a_file(tmp_path / "overlap.jsonl", *events))).load
    assert (report.counted, report.known) == (2, 3)
    assert await invited(counting) == 5


async def test_history_is_silent_unless_asked(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(6)))
    report = (await backfill(settings, path)).load
    said = ("outbox_message", "nft_mint_queue")
    assert [await number_of(counting, table) for table in said] == [0, 0]
    assert (report.mints, report.cost_nano > 0) == (1, True)


async def test_history_speaks_and_mints_when_asked(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "history.jsonl", *(a_partner(ALICE) for _ in range(6)))
    await backfill(settings, path, announce=True, mint=True)
    assert await number_of(counting, "outbox_message") > 0
    assert await number_of(counting, "nft_mint_queue") == 1


async def test_wallets_and_commands_of_history_are_carried_out_after_its_events(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_file(
        tmp_path / "history.jsonl",
        a_command("revoke", ALICE, "gone", type_code="ambassador", reason="spam"),
        a_wallet(ALICE, an_address(1)),
        *(a_partner(ALICE) for _ in range(6)),
    )
    report = (await backfill(settings, path)).load
    assert (report.counted, report.others, report.refused) == (6, 2, {})
    async with counting.transaction() as conn:
        status = (await conn.execute(text("SELECT status FROM nft_instance"))).scalars().all()
        wallets = (await conn.execute(text("SELECT address FROM user_wallet"))).scalars().all()
    assert (status, wallets) == (["revoked"], [an_address(1)])


# ------------------------------------------------------------------ what is refused


BROKEN: tuple[tuple[dict[str, Any] | bytes, str | None], ...] = (
    (b"{broken", "not_json"),
    (a_partner(ALICE) | {"type": "partner.dreamt"}, "unknown_type"),
    (a_partner(ALICE) | {"data": {}}, "missing_field"),
    (a_partner(ALICE) | {"data": {"partner_id": None}}, "null_field"),
    (a_partner(ALICE) | {"data": {"partner_id": "\0"}}, None),
    (a_partner(ALICE) | {"subject": "nobody"}, "bad_subject"),
    (a_partner(ALICE) | {"time": "yesterday"}, "bad_time"),
    (a_partner(ALICE) | {"time": "2126-01-01T00:00:00Z"}, "too_new"),
    (a_partner(ALICE) | {"specversion": "0.3"}, "bad_specversion"),
    (b"\xff\xfe{}", None),
    (b'{"a":' * 2_000, None),
)


async def test_broken_lines_are_named_and_the_others_count(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    messages = [a_partner(user(number % 9)) for number in range(500)]
    broken = {40 * number + 7: each for number, each in enumerate(BROKEN)}
    path = a_file(
        tmp_path / "mixed.jsonl",
        *(broken[n][0] if n in broken else each for n, each in enumerate(messages)),
    )
    named = tmp_path / "refused.jsonl"
    report = await backfill(settings, path, refused=named)
    assert report.load.counted == 500 - len(BROKEN) == await invited(counting)
    assert report.load.refused.total() == len(BROKEN)
    told = [json.loads(line) for line in named.read_text().splitlines()]
    assert [each["place"] for each in told] == [f"{path}:{number + 1}" for number in broken]
    for each, (_, reason) in zip(told, BROKEN, strict=True):
        assert reason in (None, each["reason"])
        assert each["detail"]
    assert report.load.exit_code(strict=False) == EXIT_OK
    assert len(report.examples) == len(BROKEN)
    assert await number_of(counting, "dead_letter") == 0


async def test_strictly_a_broken_line_refuses_all(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    many = [b"{"] * (EXAMPLES_MAX + 5)
    path = a_file(tmp_path / "mixed.jsonl", a_partner(ALICE), *many)
    with pytest.raises(UsageError) as refused:
        await backfill(settings, path, strict=True)
    said = str(refused.value)
    assert said.startswith(f"{len(many)} of {len(many) + 1} records would be refused")
    assert (f"{path}:2: not_json: " in said, "and 5 more" in said) == (True, True)
    assert await number_of(counting, "processed_event") == 0
    dry = await backfill(settings, path, strict=True, dry_run=True)
    assert dry.load.exit_code(strict=True) == EXIT_USAGE


async def test_an_id_of_two_events_is_refused_wherever_the_first_came_from(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    first = a_partner(ALICE)
    log = Log()
    log.append(first)
    await count(counting, log, await a_pipeline(counting))
    visit = a_visit(ALICE)
    path = a_file(
        tmp_path / "x.jsonl",
        first | {"subject": str(BOB)},  # of the stream
        visit,
        visit | {"subject": str(BOB)},  # of this file
    )
    named = tmp_path / "refused.jsonl"
    report = await backfill(settings, path, refused=named)
    assert report.load.refused == {"event_id_conflict": 2}
    places = {json.loads(line)["place"] for line in named.read_text().splitlines()}
    assert places == {f"{path}:1", f"{path}:3"}
    assert report.load.counted == 1


async def test_a_line_of_any_length_is_refused_and_the_others_count(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    long = a_partner(ALICE) | {"filler": "x" * (3 << 20)}
    path = a_file(tmp_path / "x.jsonl", a_partner(ALICE), long, a_partner(ALICE))
    report = await backfill(settings, path)
    assert (report.load.counted, report.load.refused) == (2, {"too_large": 1})
    assert report.examples[0].startswith(f"{path}:2: too_large: ")
    assert await invited(counting) == 2


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (gzip.compress(b"x" * 5_000, mtime=0)[:-9], "x.jsonl.gz"),
        (b"PAR1 and nothing", "x.parquet"),
        (None, "x.jsonl"),
    ],
    ids=["truncated", "no Parquet", "missing"],
)
async def test_a_broken_source_is_named_and_nothing_of_its_neighbours_is_counted(
    counting: Database,
    settings: Settings,
    tmp_path: Path,
    content: bytes | None,
    name: str,
) -> None:
    good, bad = a_file(tmp_path / "a.jsonl", a_partner(ALICE)), tmp_path / name
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(name)):
        await backfill(settings, good, bad)
    assert await number_of(counting, "processed_event") == 0


# ------------------------------------------------------------------ what goes on meanwhile


async def test_a_dry_run_says_what_the_run_then_says_and_writes_nothing(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    event = a_partner(ALICE)
    messages: list[dict[str, Any] | bytes] = [
        event,
        event,
        b"{",
        *(a_partner(BOB) for _ in range(6)),
    ]
    path = a_file(tmp_path / "x.jsonl", *messages)
    dry = (await backfill(settings, path, dry_run=True)).load
    tables = ("nft_progress", "processed_event", "history_job", "nft_instance")
    assert [await number_of(counting, table) for table in tables] == [0, 0, 0, 0]
    real = (await backfill(settings, path)).load
    for name in ("read", "counted", "repeated", "known", "refused", "levels", "mints", "mint_nano"):
        assert getattr(dry, name) == getattr(real, name), name
    assert (dry.dry_run, dry.samples[("ambassador", 1)]) == (True, [ALICE])


async def test_an_interrupted_run_goes_on_where_it_stopped(
    counting: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = scan_table_seal(3)
    monkeypatch.setattr("processor.history.event_table.EventTable.seal", sealed)
    path = a_file(tmp_path / "x.jsonl", *(a_partner(user(n)) for n in range(12)))
    stop = Stop()

    class Stopping(ProgressLines):
        async def loaded(self, slices: int, total: int) -> None:
            await super().loaded(slices, total)
            if slices == 2:
                stop.request()

    first = await backfill(settings, path, stop=stop, progress=Stopping(lambda _: None))
    assert first.load.exit_code(strict=False) == EXIT_INTERRUPTED
    assert "goes on from here" in first.text
    second = await backfill(settings, path)
    assert (second.load.resumed_at > 0, second.load.finished) == (True, True)
    assert second.load.counted == 12 == await invited(counting)


def scan_table_seal(slice_events: int) -> Callable[..., None]:
    from processor.history.event_table import EventTable

    seal = EventTable.seal

    def sealed(table: EventTable, read_by: bytes) -> None:
        seal(table, read_by, slice_events)

    return sealed


class Changing(Inputs):
    """Sources while which are read for the first time another catalog comes into force."""

    change: Callable[[], None]

    def pieces(
        self, record_bytes_max: int, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Piece]:
        yield from super().pieces(record_bytes_max, stopped)
        self.change()


async def test_a_catalog_that_changes_meanwhile_reads_all_again(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    import asyncio

    path = a_file(tmp_path / "x.jsonl", *(a_partner(ALICE) for _ in range(3)))
    found = inputs_of([str(path)])
    sources, loop = Changing(found.files), asyncio.get_running_loop()
    changed: list[bool] = []

    async def apply() -> None:
        async with counting.transaction() as conn:
            current = await catalogs.current(conn)
            assert current is not None
            more = a_catalog().events
            await catalogs.apply(
                conn,
                type(current)(
                    current.version, (*current.events, *more), current.counters, current.types
                ),
                "admin",
            )

    def change() -> None:
        if not changed:
            changed.append(True)
            asyncio.run_coroutine_threadsafe(apply(), loop).result()

    object.__setattr__(sources, "change", change)
    said: list[str] = []
    report = await backfilling.backfill(
        settings, sources, BackfillOptions(), Stop(), ProgressLines(said.append)
    )
    assert any("read again" in line for line in said)
    assert (report.load.counted, await invited(counting)) == (3, 3)
    async with counting.transaction() as conn:
        versions = await conn.execute(text("SELECT DISTINCT first_version FROM processed_event"))
        assert versions.scalars().all() == [2]


async def test_where_postgresql_refuses_the_way_out_is_named(
    counting: Database, settings: Settings, tmp_path: Path
) -> None:
    """Wallet changes go the way of the stream, record by record."""
    async with counting.transaction() as conn:
        await conn.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE check_violation USING MESSAGE = 'no more wallets'; END $$"
            )
        )
        await conn.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON user_wallet FOR EACH ROW "
                "EXECUTE FUNCTION refuse()"
            )
        )
    wallets = [a_wallet(user(n), an_address(n)) for n in range(1, 5)]
    path = a_file(tmp_path / "x.jsonl", a_partner(ALICE), *wallets)
    with pytest.raises(RecordsRefused, match="no more wallets"):
        await backfill(settings, path)
    assert await invited(counting) == 1


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
        assert (await backfill(limited, path, dry_run=True)).load.counted == 1


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
    report = (await backfill(settings, path, announce=True, mint=True)).load
    assert (report.read, report.counted, report.levels) == (1, 1, {("ambassador", 1): 1})
    assert await invited(counting) == 1


# ------------------------------------------------------------------ what is said


async def test_progress_says_how_much_how_fast_and_what_is_left() -> None:
    said: list[str] = []
    clock = FakeClock()
    progress = ProgressLines(said.append, clock, size=8_000_000)
    for records, size, seconds in ((1, 10, 0.0), (2_000, 2_000_000, 4.0), (2_100, 2_100_000, 1.0)):
        clock.advance(timedelta(seconds=seconds))
        progress.reached(records, size)
    for slices, seconds in ((0, 1.0), (2, 4.0)):
        clock.advance(timedelta(seconds=seconds))
        await progress.loaded(slices, 8)
    assert said == [
        "2,000 records read, 500 a second; 2 MB, 25%, about 12 s left",
        "0 of 8 slices counted",
        "2 of 8 slices counted, 25%, about 12 s left",
    ]

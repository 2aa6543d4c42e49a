"""The queue as metrics show it, and what showing it may cost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from minter.context import MinterContext
from minter.queue_gauges import QueueGauges, show_open, show_over
from minter.ton.gateway import ChainUnreachable
from minter.ton.liteserver import LiteServers
from minter.ton.values import Block
from ops.settings import Settings
from store import queue_figures
from store.engine import Connection
from store.queue_figures import QueueFigures
from store.values.minting import HoldReason, TaskOperation, TaskStatus
from tests.builders.clock import FakeClock
from tests.builders.metrics import series, value
from tests.builders.world import World, all_in, eventually, minting

TASKS, OLDEST = "laurel_mint_tasks", "laurel_mint_task_oldest_seconds"
HELD = ("mint", "pending", "no_wallet")
EVERY = timedelta(seconds=5)


@pytest.fixture
async def gauges(hurried: MinterContext) -> AsyncIterator[QueueGauges]:
    made = QueueGauges(hurried)
    yield made
    await made.close()


async def test_every_place_shows_from_the_start_and_is_none_again_when_left() -> None:
    day = timedelta(days=1)
    held = QueueFigures(TaskOperation.MINT, TaskStatus.PENDING, HoldReason.NO_WALLET, 3, day)
    over = QueueFigures(TaskOperation.BURN, TaskStatus.FAILED, None, 2)
    show_open([held])
    show_over([over])
    assert {place: tasks for place, tasks in series(TASKS).items() if tasks} == {
        HELD: 3,
        ("burn", "failed", "none"): 2,
    }
    assert {place: age for place, age in series(OLDEST).items() if age} == {
        HELD: day.total_seconds()
    }
    show_open([])
    show_over([])
    assert set(series(TASKS).values()) == set(series(OLDEST).values()) == {0}
    # Three operations; pending with four holds and none, sent; confirmed and failed have no age.
    assert (len(series(TASKS)), len(series(OLDEST))) == (3 * 8, 3 * 6)


async def test_the_queue_is_counted_now_and_then(
    gauges: QueueGauges, world: World, clock: FakeClock
) -> None:
    (badge,) = await world.badges(wallets=False)
    await world.enqueue([badge])

    async def shows(*labels: str) -> None:
        async def shown() -> bool:
            return value(TASKS, *labels) == 1

        await eventually(world, shown, f"one task is {labels}")

    gauges.look()
    await shows("mint", "confirmed", "none")
    await shows("mint", "pending", "none")
    await world.sql("UPDATE nft_mint_queue SET hold_reason = 'no_wallet' WHERE status = 'pending'")
    for _ in range(3):
        gauges.look()
    clock.advance(EVERY)
    assert value(TASKS, *HELD) == 0, "not due yet"
    gauges.look()
    await shows(*HELD)


async def test_a_count_has_a_hundredth_of_the_time_at_most_and_never_runs_twice_at_once(
    gauges: QueueGauges, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of millions takes seconds, and whoever mints does not wait for it."""
    count, going_on, began = queue_figures.open_tasks, asyncio.Event(), list[float]()

    async def slowly(conn: Connection) -> list[QueueFigures]:
        began.append(clock.monotonic())
        await going_on.wait()
        clock.advance(timedelta(seconds=2))
        return await count(conn)

    async def at_once(_conn: Connection) -> list[QueueFigures]:
        return []

    monkeypatch.setattr(queue_figures, "open_tasks", slowly)
    monkeypatch.setattr(queue_figures, "settled_tasks", at_once)
    open_count, _ = gauges._counts
    for _ in range(3):
        gauges.look()
        clock.advance(EVERY)
    running = open_count._running
    assert running is not None
    going_on.set()
    await running
    ended = clock.monotonic()
    while len(began) == 1:
        clock.advance(EVERY)
        gauges.look()
        await asyncio.sleep(0.02)
    taken = ended - began[0]
    assert 100 * taken <= began[1] - ended <= 100 * taken + EVERY.total_seconds()


async def test_what_waits_grows_old_while_no_lite_server_answers(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert about mints that are overdue has to come then most of all."""

    async def silent(*_: Any) -> Block:
        raise ChainUnreachable("no lite server answers")

    async with minting(settings):
        await all_in(world, await world.to_mint(), "active/minted")
        monkeypatch.setattr(LiteServers, "newest_block", silent)
        await world.to_mint()
        await world.sql(
            "UPDATE nft_mint_queue SET run_after = now() - interval '1 hour'"
            " WHERE status = 'pending'"
        )

        async def is_old() -> bool:
            return max(value(OLDEST, "mint", word, "none") for word in ("pending", "sent")) > 3600

        await eventually(world, is_old, "the mint that nobody sends is an hour old")

"""What a minter does beside minting, and when."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from minter import reconcile
from minter.context import MinterContext
from minter.maintenance import Maintenance
from minter.ton.gateway import ChainUnreachable
from minter.ton.liteserver import LiteServers
from minter.ton.values import Block
from tests.builders.clock import FakeClock
from tests.builders.world import World, eventually

SWEEP = timedelta(seconds=5)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def compared(world: World, before: float) -> None:
    """Wait until a comparison more than `before` has ended."""

    async def done() -> bool:
        return sample("laurel_reconcile_seconds_count") > before

    await eventually(world, done, "the comparison ended")


async def test_a_sweep_frees_what_is_held_no_more(
    hurried: MinterContext, world: World, clock: FakeClock
) -> None:
    (badge,) = await world.badges(wallets=False)
    await world.enqueue([badge])
    await world.sql(
        "UPDATE nft_mint_queue SET hold_reason = 'no_wallet' WHERE nft_instance_id = :id",
        id=badge.id,
    )
    held = "SELECT count(*) FROM nft_mint_queue WHERE hold_reason IS NOT NULL"
    maintenance = Maintenance(hurried)
    await maintenance.sweep()
    await world.link([badge])
    await maintenance.sweep()
    assert await world.value(held) == 1, "not due yet"
    clock.advance(SWEEP)
    await maintenance.sweep()
    assert await world.value(held) == 0


async def test_a_comparison_runs_when_it_is_due_and_never_twice_at_once(
    hurried: MinterContext, world: World, clock: FakeClock
) -> None:
    before = sample("laurel_reconcile_seconds_count")
    maintenance = Maintenance(hurried)
    maintenance.compare()
    clock.advance(hurried.settings.reconcile_every - timedelta(seconds=1))
    maintenance.compare()
    clock.advance(timedelta(seconds=1))
    maintenance.compare()
    clock.advance(hurried.settings.reconcile_every)
    maintenance.compare()  # due again, and the first is still under way
    await compared(world, before)
    await maintenance.close()
    assert sample("laurel_reconcile_seconds_count") == before + 1


async def test_a_comparison_does_not_run_again_before_its_interval(
    hurried: MinterContext, world: World, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads every token there is: run each turn, it would be all that a minter does."""
    run, started = reconcile.reconcile, list[float]()

    async def noting(*arguments: Any, **options: Any) -> Any:
        started.append(clock.monotonic())
        return await run(*arguments, **options)

    monkeypatch.setattr(reconcile, "reconcile", noting)
    before, every = sample("laurel_reconcile_seconds_count"), hurried.settings.reconcile_every
    maintenance = Maintenance(hurried)
    clock.advance(every)
    maintenance.compare()
    await compared(world, before)
    second = timedelta(seconds=1)
    for waited in (timedelta(), every - second):
        clock.advance(waited)
        maintenance.compare()
        await turns()
    assert started == [every.total_seconds()]
    clock.advance(second)
    maintenance.compare()
    await turns()
    assert started == [every.total_seconds(), 2 * every.total_seconds()]
    await maintenance.close()


async def turns() -> None:
    """Let a task that was created begin, and one that has ended be done."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_comparison_reports_and_repairs_nothing(
    hurried: MinterContext, world: World, clock: FakeClock
) -> None:
    await world.sql("UPDATE nft_instance SET onchain_token_id = NULL")
    before = sample("laurel_reconcile_seconds_count")
    maintenance = Maintenance(hurried)
    clock.advance(hurried.settings.reconcile_every)
    maintenance.compare()
    await compared(world, before)
    assert sample("laurel_reconcile_findings", finding="lost_id") == 1
    assert await world.value("SELECT onchain_token_id FROM nft_instance") is None
    await maintenance.close()


async def test_a_comparison_that_fails_is_counted_and_the_next_one_runs(
    hurried: MinterContext, world: World, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_: LiteServers) -> Block:
        raise ChainUnreachable("no lite server answers")

    failures = sample("laurel_errors_total", code="chain_unreachable")
    before = sample("laurel_reconcile_seconds_count")
    maintenance = Maintenance(hurried)
    clock.advance(hurried.settings.reconcile_every)
    with monkeypatch.context() as patched:
        patched.setattr(LiteServers, "newest_block", silent)
        maintenance.compare()

        async def failed() -> bool:
            return sample("laurel_errors_total", code="chain_unreachable") == failures + 1

        await eventually(world, failed, "the failure is counted")
    clock.advance(hurried.settings.reconcile_every)
    maintenance.compare()
    await compared(world, before)
    await maintenance.close()


async def test_a_comparison_under_way_ends_with_the_minter(
    hurried: MinterContext, clock: FakeClock
) -> None:
    before = sample("laurel_reconcile_seconds_count")
    maintenance = Maintenance(hurried)
    clock.advance(hurried.settings.reconcile_every)
    maintenance.compare()
    await maintenance.close()
    assert sample("laurel_reconcile_seconds_count") == before

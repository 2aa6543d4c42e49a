"""Minting goes on beside lite servers that fail, wherever they stand in the list."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from minter.daemon import Daemon
from minter.startup import minter_context
from ops import metrics
from ops.lifecycle import Part, Readiness, Stop
from ops.settings import Settings
from ops.watchdog import Watchdog
from sandbox.ton.network import TonNetwork, write_json
from tests.builders.clock import FakeClock
from tests.builders.lite_servers import ACCOUNT, FailingServer, lite_servers
from tests.builders.world import World, all_in, minting

pytestmark = pytest.mark.integration


def stall(server: FailingServer) -> None:
    server.stall()


def fall_silent(server: FailingServer) -> None:
    server.silent_on = {""}


def keep_accounts_back(server: FailingServer) -> None:
    server.silent_on = {ACCOUNT}


def slow_down(server: FailingServer) -> None:
    server.delay_s = 5.0


def lie(server: FailingServer) -> None:
    server.lies = True


@pytest.mark.parametrize("fail", [stall, fall_silent, keep_accounts_back, slow_down, lie])
async def test_badges_are_minted_beside_four_lite_servers_that_fail(
    fail: Callable[[FailingServer], None],
    ton: TonNetwork,
    world: World,
    settings: Settings,
    tmp_path: Path,
) -> None:
    failing = [FailingServer(ton) for _ in range(4)]
    async with lite_servers(ton, [*failing, None]) as config:
        write_json(tmp_path / "five.json", config)
        five = settings.model_copy(update={"ton_config": tmp_path / "five.json"})
        async with minting(five):
            await all_in(world, await world.to_mint(), "active/minted")
            for server in failing:
                fail(server)
            await all_in(world, await world.to_mint(), "active/minted")


async def test_a_block_that_grows_old_is_told(settings: Settings) -> None:
    readiness, clock = Readiness(), FakeClock(datetime.now(UTC))
    async with minter_context(settings, readiness, clock) as ctx:
        daemon = Daemon(ctx, readiness, Stop(), Watchdog(settings.lifecycle.stall_after))
        clock._now = ctx.view.current[0].time
        clock.advance(timedelta(seconds=5))
        daemon._tell_age()
        seqno = ctx.view.current[0].seqno
        assert readiness.facts == {"block": seqno, "block_age_seconds": 5.0}
        assert (Part.TON in readiness.waits, readiness.degraded) == (False, {})

        clock.advance(timedelta(seconds=115))
        daemon._tell_age()
        newest = f"the newest block, {seqno}, is 120 s old"
        assert readiness.waits[Part.TON] == f"no lite server has a newer block: {newest}"
        assert readiness.degraded["block age"].startswith(newest)
        assert metrics.CHAIN_BLOCK_AGE_SECONDS._value.get() == 120

        daemon._tell_age("nobody answers")
        assert readiness.waits[Part.TON] == f"nobody answers; {newest}"

"""What a minter's run does to each of its metrics: the table is tests/builders/metric_tables.py."""

from datetime import timedelta
from typing import Any

import pytest

from minter.reconcile import reconcile
from minter.ton.gateway import ChainUnreachable
from ops.lifecycle import Readiness
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from store.engine import Database
from store.values.minting import TaskOperation
from tests.builders.metric_tables import COUNTED_BY_MINTER, OF_THE_CHAIN, SHOWN_BY_MINTER
from tests.builders.metrics import Moved, series
from tests.builders.world import World, all_in, eventually, minting


@pytest.fixture
def minter_settings() -> MinterSettings:
    """Nothing is sent twice and no lease runs out, however slow the machine is."""
    return MinterSettings(
        poll_interval=timedelta(milliseconds=50),
        lease=timedelta(minutes=10),
        resend_after=timedelta(hours=1),
    )


async def test_a_run_moves_every_metric_of_the_minter(
    world: World, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, readiness, ready = Moved(), Readiness(), list[float]()
    kept, burned = await world.to_mint(2)
    await world.enqueue(await world.badges(wallets=False))
    async with minting(settings, readiness) as running:
        await all_in(world, [kept, burned], "active/minted")
        refresh = running.view.refresh

        async def unreachable_once(*given: Any) -> None:
            ready.append(series("laurel_ready")[()])
            if len(ready) == 1:
                raise ChainUnreachable("no lite server answers")
            await refresh(*given)

        monkeypatch.setattr(running.view, "refresh", unreachable_once)
        await world.enqueue([burned], TaskOperation.BURN)
        await all_in(world, [burned], "burned_onchain/minted")
        await eventually(world, tasks_are_swept, "the gauge of tasks shows the last ones")
        await world.sql(
            "UPDATE nft_instance SET onchain_token_id = NULL WHERE id = :id", id=kept.id
        )
        await reconcile(database, running.gateway, repair=False)
        ready.append(series("laurel_ready")[()])
    block, account = running.view.current
    age_s = running.view.age().total_seconds()

    assert {sample: moved.by(sample) for sample in COUNTED_BY_MINTER} == COUNTED_BY_MINTER
    assert {
        sample: {labels: value for labels, value in series(sample).items() if value}
        for sample in SHOWN_BY_MINTER
    } == SHOWN_BY_MINTER
    assert [series(sample) for sample in OF_THE_CHAIN] == [
        {(): block.seqno},
        {(): account.balance_nano},
        {(): age_s},
    ]
    # Ready, not while no lite server answered, and again.
    assert (ready[0], ready[1], ready[-1]) == (1, 0, 1)


async def tasks_are_swept() -> bool:
    return series("laurel_mint_tasks") == SHOWN_BY_MINTER["laurel_mint_tasks"]

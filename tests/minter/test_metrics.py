"""What a minter's run does to each of its metrics: the table is tests/builders/metric_tables.py."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from minter.reconcile import reconcile
from minter.ton.gateway import ChainUnreachable
from minter.ton.global_config import place, read_config
from ops.lifecycle import Readiness
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from store.engine import Database
from store.values.minting import TaskOperation
from tests.builders.metric_tables import COUNTED_BY_MINTER, OF_THE_CHAIN, SHOWN_BY_MINTER
from tests.builders.metrics import Labels, Moved, series, value
from tests.builders.minters import FUNDS_NANO
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
    (server,) = read_config(Path(settings.need("ton_config")))["liteservers"]

    assert {sample: moved.by(sample) for sample in COUNTED_BY_MINTER} == COUNTED_BY_MINTER
    assert {sample: unless_zero(sample) for sample in SHOWN_BY_MINTER} == SHOWN_BY_MINTER
    of_the_chain = {
        "laurel_chain_seqno": value("laurel_chain_seqno"),
        "laurel_wallet_balance_nanograms": value("laurel_wallet_balance_nanograms"),
        "laurel_wallet_spent_nanograms_total": moved.by("laurel_wallet_spent_nanograms_total")[()],
        "laurel_chain_block_age_seconds": value("laurel_chain_block_age_seconds"),
        "laurel_lite_server_up": value("laurel_lite_server_up", place(server)),
        "laurel_lite_server_blocks_behind": value(
            "laurel_lite_server_blocks_behind", place(server)
        ),
        "laurel_reconcile_last_success_timestamp_seconds": value(
            "laurel_reconcile_last_success_timestamp_seconds"
        ),
    }
    assert of_the_chain == dict(
        zip(
            OF_THE_CHAIN,
            [
                block.seqno,
                account.balance_nano,
                FUNDS_NANO - account.balance_nano,
                age_s,
                1,
                0,
                pytest.approx(time.time(), abs=600),
            ],
            strict=True,
        )
    )
    # Ready, not while no lite server answered, and again.
    assert (ready[0], ready[1], ready[-1]) == (1, 0, 1)


def unless_zero(sample: str) -> dict[Labels, float]:
    return {labels: value for labels, value in series(sample).items() if value}


async def tasks_are_swept() -> bool:
    return unless_zero("laurel_mint_tasks") == SHOWN_BY_MINTER["laurel_mint_tasks"]

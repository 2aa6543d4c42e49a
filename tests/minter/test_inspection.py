"""Whoever only looks asks beside minters, and is content with what answers."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from minter.inspection import asked, onlooking, state_dir_trouble, wallet_address, wallet_facts
from minter.startup import minting_wallet
from ops.settings import Settings
from store.values.minting import Commitments
from tests.builders.world import World


async def test_a_database_before_its_first_minter_knows_what_is_due(
    world: World, settings: Settings
) -> None:
    await world.to_mint(2)
    known = await asked(settings, wallet_facts)
    assert known is not None
    assert (known.address, known.due_mints, known.collections) == (None, 2, ())
    assert known.commitments == Commitments(0, 0, 0)


async def test_a_database_knows_its_wallet_and_whether_it_is_shut(
    minted_one: None, world: World, settings: Settings
) -> None:
    del minted_one
    await world.sql("UPDATE chain_wallet SET shut_reason = 'restored', shut_until = now()")
    known = await asked(settings, wallet_facts)
    assert known is not None
    assert known.address == minting_wallet(settings)[1].address == wallet_address(settings)
    assert known.due_mints == 0
    assert [each.type_code for each in known.collections] == ["explorer"]
    assert known.shut is not None
    assert known.shut.reason == "restored"


async def test_a_database_that_is_away_or_not_named_is_done_without(settings: Settings) -> None:
    away = SecretStr("postgresql://laurel@127.0.0.1:9/laurel")
    for url in (away, None):
        changed = settings.model_copy(update={"database_url": url})
        assert await asked(changed, wallet_facts) is None


async def test_each_lite_server_is_asked_by_itself(settings: Settings) -> None:
    async with onlooking(settings) as gateway:
        (tip,) = await gateway.survey(timedelta(minutes=5), timedelta(minutes=5))
        assert tip.block is not None
        assert tip.failure == ""
        assert tip.block.seqno == (await gateway.block(tip.block.seqno)).seqno


@pytest.mark.parametrize("place", ["there", "there/below/it"])
def test_a_directory_that_can_be_made_is_no_trouble(tmp_path: Path, place: str) -> None:
    assert state_dir_trouble(tmp_path / place) is None
    (tmp_path / "there").write_text("a file")
    trouble = state_dir_trouble(tmp_path / place)
    assert trouble is not None
    assert str(tmp_path / "there") in trouble

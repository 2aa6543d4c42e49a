"""What waits for a person goes on by `laurel queue`, and only where the chain has nothing."""

import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from minter import queue_decisions
from minter.context import MinterContext
from minter.message_signing import SignedBatch
from minter.queue_decisions import Request
from ops.errors import UsageError
from ops.settings import Settings
from sandbox.ton.network import TonNetwork
from store.values.minting import HoldReason
from tests.builders.cli import laurel_beside
from tests.builders.minters import sign_due
from tests.builders.world import Badge, World, all_in, eventually, has_task, items_of, minting

TTL = timedelta(minutes=5)


async def task_of(world: World, badge: Badge) -> UUID:
    return UUID(
        str(
            await world.value(
                "SELECT id FROM nft_mint_queue WHERE nft_instance_id = :id", id=badge.id
            )
        )
    )


async def parked(world: World) -> None:
    """Leave the tasks of the message under way as a minter does that gave up."""
    await world.sql("UPDATE chain_message SET status = 'void' WHERE status = 'unresolved'")
    await world.sql(
        """
        UPDATE nft_mint_queue
           SET status = 'pending', hold_reason = 'operator', retry_count = 4,
               last_error = 'its message left no trace before it expired',
               lease_token = NULL, lease_expires_at = NULL
         WHERE status = 'sent'
        """
    )


@pytest.fixture
async def one_parked(ctx: MinterContext, world: World, ton: TonNetwork) -> Badge:
    """A mint that is parked with its index, long after its message expired."""
    (badge,) = await world.to_mint()
    assert isinstance(await sign_due(ctx), SignedBatch)
    await parked(world)
    ton.advance(TTL + timedelta(minutes=2))
    for _ in range(2):
        await ton.next_block()
    return badge


async def test_a_parked_mint_is_tried_again_and_minted_once(
    one_parked: Badge, world: World, settings: Settings
) -> None:
    (late,) = await world.to_mint()
    task = await task_of(world, one_parked)
    (listed,) = (
        await queue_decisions.listed(settings, hold=HoldReason.OPERATOR, code=None, limit=9)
    ).tasks
    assert (listed.id, listed.token_index, listed.hold_reason) == (task, 1, HoldReason.OPERATOR)
    (looked,) = await queue_decisions.retry(settings, Request((task,), dry_run=True))
    assert looked.refusal is None
    assert await world.value("SELECT hold_reason FROM nft_mint_queue WHERE id = :id", id=task) == (
        "operator"
    )
    (done,) = await queue_decisions.retry(settings, Request((task,), "the network is back"))
    assert done.refusal is None
    async with minting(settings):
        await all_in(world, [one_parked, late], "active/minted")
    _, history = await queue_decisions.shown(settings, task)
    (retried,) = [each for each in history if each.event == "retried"]
    assert retried.details["reason"] == "the network is back"
    assert retried.details["actor"].startswith("admin:")
    # its old index, so whatever became of the first message, it is one token
    assert await world.value("SELECT token_index FROM nft_mint_queue WHERE id = :id", id=task) == 1


async def test_a_parked_mint_does_not_stop_its_collection(
    one_parked: Badge, world: World, settings: Settings
) -> None:
    """Nobody retries it: it goes along with the next mint, and is one token."""
    (late,) = await world.to_mint()
    async with minting(settings) as ctx:
        await all_in(world, [one_parked, late], "active/minted")
        tokens = await items_of(ctx)
    assert [token.content for token in tokens[1:]] == [
        f"{badge.id}.json" for badge in (one_parked, late)
    ]


async def test_what_a_person_has_to_see_to_comes_before_thousands_without_a_wallet(
    one_parked: Badge, world: World, settings: Settings
) -> None:
    waiting = await world.badges(5, wallets=False)
    await world.enqueue(waiting)
    await world.sql("UPDATE nft_mint_queue SET hold_reason = 'no_wallet' WHERE token_index IS NULL")
    view = await queue_decisions.listed(settings, hold=None, code=None, limit=3)
    assert [task.hold_reason for task in view.tasks] == [
        HoldReason.OPERATOR,
        HoldReason.NO_WALLET,
        HoldReason.NO_WALLET,
    ]
    assert view.tasks[0].nft_instance_id == one_parked.id
    other = await queue_decisions.listed(settings, hold=None, code="quest_author", limit=3)
    assert other.tasks == ()


async def test_a_parked_mint_whose_message_can_execute_is_left(
    ctx: MinterContext, world: World, settings: Settings
) -> None:
    (badge,) = await world.to_mint()
    assert isinstance(await sign_due(ctx), SignedBatch)
    await parked(world)
    request = Request((await task_of(world, badge),))
    (outcome,) = await queue_decisions.retry(settings, request)
    assert outcome.refusal is not None
    assert "can execute until" in outcome.refusal


async def test_a_parked_mint_whose_token_is_there_is_not_tried_again(
    minted_one: None, world: World, settings: Settings
) -> None:
    del minted_one
    await world.sql("UPDATE nft_mint_queue SET status = 'pending', hold_reason = 'operator'")
    task = UUID(str(await world.value("SELECT id FROM nft_mint_queue")))
    await world.sql("UPDATE chain_message SET valid_until = valid_until - interval '1 hour'")
    (outcome,) = await queue_decisions.retry(settings, Request((task,)))
    assert outcome.refusal == "its token is on chain: `laurel reconcile --repair` writes it down"
    assert await world.value("SELECT hold_reason FROM nft_mint_queue") == "operator"


async def test_a_held_recipient_is_looked_at_again(
    world: World, settings: Settings, minted_one: None
) -> None:
    del minted_one
    (badge,) = await world.to_mint()
    nobody = "0:" + "0" * 64
    await world.sql(
        "UPDATE user_wallet SET address = :address WHERE user_id = :id",
        address=nobody,
        id=badge.user_id,
    )
    await world.sql(
        "UPDATE nft_mint_queue SET hold_reason = 'recipient' WHERE nft_instance_id = :id",
        id=badge.id,
    )
    await world.sql(
        "UPDATE user_wallet SET address = :address WHERE user_id = :id",
        address=badge.owner,
        id=badge.user_id,
    )
    task = await task_of(world, badge)
    (parked_only,) = await queue_decisions.retry(settings, Request((task,)))
    assert parked_only.refusal == f"it waits for a wallet: `laurel queue release {task}`"
    (outcome,) = await queue_decisions.release(settings, Request((task,)))
    assert outcome.refusal is None
    async with minting(settings):
        await all_in(world, [badge], "active/minted")


async def test_a_failed_burn_is_tried_again_while_its_token_stands(
    world: World, settings: Settings
) -> None:
    (badge,) = await world.to_mint()
    async with minting(settings):
        await all_in(world, [badge], "active/minted")
    await world.sql(
        "INSERT INTO nft_mint_queue (nft_instance_id, operation, status) VALUES (:id, 'burn', 'failed')",
        id=badge.id,
    )
    await world.sql("UPDATE nft_instance SET status = 'revoked' WHERE id = :id", id=badge.id)
    (failed,) = (await queue_decisions.listed(settings, hold=None, code=None, limit=9)).tasks
    (outcome,) = await queue_decisions.retry(settings, Request((failed.id,)))
    assert outcome.refusal is None
    assert (await queue_decisions.listed(settings, hold=None, code=None, limit=9)).tasks == ()
    async with minting(settings):
        await all_in(world, [badge], "revoked/minted")
        await eventually(world, lambda: has_task(world, badge, "burn confirmed"), "it is burned")
    (again,) = await queue_decisions.retry(settings, Request((failed.id,)))
    assert again.refusal == "the token has ended already: `laurel reconcile --repair`"


async def test_what_is_not_there_is_an_error_of_usage(settings: Settings, world: World) -> None:
    del world
    unknown = uuid4()
    with pytest.raises(UsageError, match=f"no such task: {unknown}"):
        await queue_decisions.release(settings, Request((unknown,)))
    with pytest.raises(UsageError, match="explorer: no collection of that type is stopped"):
        await queue_decisions.go_on(settings, "explorer", dry_run=False)


async def test_the_commands_speak_to_people_and_to_scripts(
    one_parked: Badge, world: World, settings: Settings
) -> None:
    environment = {
        "LAUREL_DATABASE_URL": settings.need("database_url"),
        "LAUREL_TON_CONFIG": settings.need("ton_config"),
    }
    task = str(await task_of(world, one_parked))
    await world.sql("UPDATE chain_collection SET stopped_reason = 'it mints nothing'")
    listed = await laurel_beside("queue", "list", **environment)
    assert (listed.returncode, "laurel queue release --type explorer" in listed.stdout) == (0, True)
    assert f"{task}  explorer  mint  operator  index 1" in listed.stdout
    as_json = json.loads((await laurel_beside("queue", "list", "--json", **environment)).stdout)
    assert [each["id"] for each in as_json["tasks"]] == [task]
    assert [each["reason"] for each in as_json["stopped"]] == ["it mints nothing"]
    refused = await laurel_beside("queue", "release", task, "--json", **environment)
    assert (refused.returncode, json.loads(refused.stdout)["tasks"][0]["done"]) == (1, False)
    none = await laurel_beside("queue", "retry", **environment)
    assert (none.returncode, "Name at least one task" in none.stderr) == (2, True)
    words = ("--type", "explorer", "--reason", "it obeys us again")
    would = await laurel_beside("queue", "release", *words, "--dry-run", **environment)
    assert would.returncode == 0, would.stderr
    decided = "SELECT type_code, stopped_reason, reason, actor FROM collection_decision"
    assert await world.sql(decided) == []
    went_on = await laurel_beside("queue", "release", *words, **environment)
    assert went_on.returncode == 0, went_on.stderr
    (row,) = await world.sql(decided)
    assert tuple(row)[:3] == ("explorer", "it mints nothing", "it obeys us again")
    assert row.actor.startswith("admin:")
    retried = await laurel_beside("queue", "retry", task, "--reason", "mended", **environment)
    assert retried.returncode == 0, retried.stderr
    shown = await laurel_beside("queue", "show", task, **environment)
    assert "retried" in shown.stdout
    assert "reason=mended" in shown.stdout

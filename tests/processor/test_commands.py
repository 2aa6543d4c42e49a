"""`laurel topics` and `laurel badge`, as processes.

What they say, what they write, and how they end.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from ops.lifecycle import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from sandbox.broker import Broker
from store.engine import Database
from tests.builders.messages import ALICE, Log, a_partner, count

ROOT = Path(__file__).parents[2]


async def laurel(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cli", *arguments]
    return await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_topics_are_made_once(any_broker: Broker, topic_prefix: str) -> None:
    where = {"LAUREL_KAFKA_BROKERS": any_broker.address, "LAUREL_KAFKA__TOPIC_PREFIX": topic_prefix}
    names = {
        "badges",
        "cities",
        "commands",
        "dead-letters",
        "partners",
        "quests",
        "reviews",
        "wallets",
    }
    expected = sorted(f"{topic_prefix}.{name}" for name in names)
    looked = json.loads((await laurel("topics", "create", "--dry-run", "--json", **where)).stdout)
    made = json.loads((await laurel("topics", "create", "--json", **where)).stdout)
    again = json.loads((await laurel("topics", "create", "--json", **where)).stdout)
    assert (sorted(looked["missing"]), looked["made"]) == (expected, [])
    assert (sorted(made["made"]), made["there"]) == (expected, [])
    assert (again["made"], sorted(again["there"])) == ([], expected)


async def test_topics_cannot_be_made_without_a_broker() -> None:
    done = await laurel("topics", "create", LAUREL_KAFKA_BROKERS="127.0.0.1:9")
    assert done.returncode == EXIT_FAILURE
    assert "Kafka does not answer at 127.0.0.1:9" in done.stderr
    unset = await laurel("topics", "create")
    assert unset.returncode == EXIT_USAGE
    assert "LAUREL_KAFKA_BROKERS" in unset.stderr


@pytest.fixture
async def ambassador(counting: Database, database_url: str) -> dict[str, str]:
    """ALICE is an ambassador; the environment that leads to her database."""
    log = Log()
    log.append(a_partner(ALICE))
    await count(counting, log)
    return {"LAUREL_DATABASE_URL": database_url}


async def test_a_badge_is_minted_by_hand_once(
    ambassador: dict[str, str], counting: Database
) -> None:
    command = ("badge", "mint", str(ALICE), "ambassador", "--external-id", "ticket-7")
    assert [(await laurel(*command, **ambassador)).returncode for _ in range(2)] == [
        EXIT_OK,
        EXIT_OK,
    ]
    async with counting.transaction() as conn:
        assert (await conn.execute(text("SELECT count(*) FROM nft_mint_queue"))).scalar_one() == 1


async def test_a_badge_is_revoked_by_hand_with_a_reason(
    ambassador: dict[str, str], counting: Database
) -> None:
    without = await laurel("badge", "revoke", str(ALICE), "ambassador", **ambassador)
    assert (without.returncode, "--reason" in without.stderr) == (EXIT_USAGE, True)
    done = await laurel(
        "badge", "revoke", str(ALICE), "ambassador", "--reason", "a mistake", **ambassador
    )
    assert done.returncode == EXIT_OK, done.stderr
    async with counting.transaction() as conn:
        rows = await conn.execute(
            text(
                "SELECT actor_service, details->>'reason' FROM nft_audit_log WHERE action = 'revoked'"
            )
        )
        assert [tuple(row) for row in rows] == [("admin", "a mistake")]


async def test_what_cannot_be_done_is_said(ambassador: dict[str, str]) -> None:
    done = await laurel("badge", "burn", str(ALICE), "ambassador", **ambassador)
    assert done.returncode == EXIT_FAILURE
    assert "has no token" in done.stderr

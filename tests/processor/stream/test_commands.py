"""`laurel topics` as a process: what it says, and how it ends."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from ops.lifecycle import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USAGE
from sandbox.broker import Broker
from tests.builders.cli import laurel_beside as laurel

ROOT = Path(__file__).parents[3]


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


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, EXIT_INTERRUPTED), (signal.SIGTERM, -signal.SIGTERM)]
)
async def test_a_command_that_waits_for_a_silent_broker_ends_at_a_signal(
    number: signal.Signals, code: int
) -> None:
    """It listens, takes the connection, and never answers; the drain bound is for processes."""
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    environment = os.environ | {
        "LAUREL_KAFKA_BROKERS": f"127.0.0.1:{port}",
        "LAUREL_LIFECYCLE__DRAIN_TIMEOUT": "PT10M",
        "LAUREL_KAFKA__REQUEST_TIMEOUT": "PT10M",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "cli.py"), "topics", "create", cwd=ROOT, env=environment,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asked.wait()
    process.send_signal(number)
    _, said = await process.communicate()
    server.close()
    assert process.returncode == code
    assert b"task_stack" not in said

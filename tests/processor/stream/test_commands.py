"""`laurel topics` as a process: what it says, and how it ends."""

import json

from ops.lifecycle import EXIT_FAILURE, EXIT_USAGE
from sandbox.broker import Broker
from tests.builders.cli import laurel_beside as laurel


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

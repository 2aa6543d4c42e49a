"""The rights that a broker says this client has."""

import pytest
from aiokafka import __version__
from aiokafka.admin import AIOKafkaAdminClient

from ops.settings import Settings
from processor.stream import kafka_access, kafka_rights, topics
from sandbox.broker import Broker
from sandbox.kafka import kafka
from tests.e2e.workers import until
from tests.fixtures.secured import PASSWORD, SecuredBroker

USER = "User:dora"


@pytest.mark.kafka
async def test_they_are_what_the_acls_say(secured_kafka: SecuredBroker, topic_prefix: str) -> None:
    names = [f"{topic_prefix}.{name}" for name in ("read", "seen", "hidden")]
    await topics.create(Settings(kafka_brokers=secured_kafka.plain), names)
    settings = Settings(
        kafka_brokers=secured_kafka.secure,
        kafka={
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_username": "dora",
            "sasl_password": PASSWORD,
            "ca_file": secured_kafka.ca.cert,
        },
    )
    secured_kafka.allow(
        USER,
        [
            ("READ", "TOPIC", names[0]),
            ("DESCRIBE", "TOPIC", names[1]),
            ("DESCRIBE", "GROUP", f"{topic_prefix}-seen"),
            ("READ", "GROUP", f"{topic_prefix}-joined"),
        ],
    )
    admin = AIOKafkaAdminClient(**kafka_access.of(settings).arguments)
    await admin.start()
    try:

        async def topics_are_told_apart() -> bool:
            return await kafka_rights.unreadable(admin) == {names[1]}

        async def groups_are_told_apart() -> bool:
            joined = [
                await kafka_rights.may_join(admin, f"{topic_prefix}-{name}")
                for name in ("joined", "seen", "hidden")
            ]
            return joined == [True, False, False]

        # A broker takes up ACLs a moment after they are made.
        await until(topics_are_told_apart, "one topic that is seen and not read")
        await until(groups_are_told_apart, "one group to be in")
    finally:
        await admin.close()


@pytest.mark.kafka
async def test_the_first_group_of_a_new_cluster_is_waited_for() -> None:
    """Whoever follows README runs `laurel doctor` before any worker has asked for a group."""
    with kafka() as fresh:
        admin = AIOKafkaAdminClient(
            **kafka_access.of(Settings(kafka_brokers=fresh.address)).arguments
        )
        await admin.start()
        try:
            assert await kafka_rights.may_join(admin, "laurel-worker")
        finally:
            await admin.close()


async def test_a_broker_that_knows_no_rights_refuses_nothing(
    broker: Broker, topic_prefix: str
) -> None:
    settings = Settings(kafka_brokers=broker.address)
    await topics.create(settings, [f"{topic_prefix}.a"])
    admin = AIOKafkaAdminClient(**kafka_access.of(settings).arguments)
    await admin.start()
    try:
        assert f"{topic_prefix}.a" not in await kafka_rights.unreadable(admin)
    finally:
        await admin.close()


def test_tripwire_aiokafka_still_reads_the_wrong_answer_about_groups() -> None:
    from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v2

    assert __version__.startswith("0.14.")
    assert DescribeGroupsRequest_v3.RESPONSE_TYPE is DescribeGroupsResponse_v2

"""A worker, its topics and its producer on a Kafka with TLS, SASL and ACLs."""

import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from ops.lifecycle import EXIT_OK
from store.engine import Database
from tests.builders.cli import laurel_beside
from tests.builders.messages import a_quest, user, with_catalog
from tests.e2e.workers import (
    RunningWorker,
    Site,
    a_worker,
    produce,
    until,
    until_counted,
    until_ready,
)
from tests.fixtures.secured import PASSWORD, SecuredBroker

pytestmark = pytest.mark.kafka

# What docs/runbook.md (Rights in Kafka) says that each of them needs.
WORKER = (("READ", "TOPIC", "{prefix}*"), ("READ", "GROUP", "{prefix}"))
TOPICS = (("CREATE", "TOPIC", "{prefix}*"), ("DESCRIBE", "TOPIC", "{prefix}*"))
PRODUCER = (("WRITE", "TOPIC", "{prefix}*"),)


@pytest.fixture
def site(secured_kafka: SecuredBroker, database_url: str, topic_prefix: str) -> Site:
    """A site at the administrator's listener; nothing is there yet."""
    return Site(secured_kafka.plain, database_url, topic_prefix)


@pytest.fixture
def client(secured_kafka: SecuredBroker, site: Site, tmp_path: Path) -> dict[str, str]:
    """The settings of a client of the secured listener: alice, by SCRAM."""
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    return {
        **site.environment,
        "LAUREL_KAFKA_BROKERS": secured_kafka.secure,
        "LAUREL_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "LAUREL_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
        "LAUREL_KAFKA__SASL_USERNAME": "alice",
        "LAUREL_KAFKA__SASL_PASSWORD_FILE": str(password),
        "LAUREL_KAFKA__CA_FILE": str(secured_kafka.ca.cert),
    }


def granted(
    broker: SecuredBroker, site: Site, grants: Iterable[tuple[str, str, str]], user: str = "alice"
) -> None:
    """Give a user rights to what the site has."""
    broker.allow(
        f"User:{user}",
        [(what, kind, name.format(prefix=site.prefix)) for what, kind, name in grants],
    )


async def until_it_waits(worker: RunningWorker, *words: str) -> None:
    """Wait until /ready has all of `words` about Kafka or its topics."""

    async def says() -> bool:
        waits = (await worker.ready()).get("waits", {})
        said = f"{waits.get('kafka', '')} {waits.get('topics', '')}"
        return all(word in said for word in words)

    await until(says, f"a wait with {words}", worker)


async def test_a_worker_with_the_rights_that_are_documented_counts(
    secured_kafka: SecuredBroker,
    site: Site,
    client: dict[str, str],
    database: Database,
    tmp_path: Path,
) -> None:
    await with_catalog(database)
    person = str(uuid.uuid4())

    refused = await laurel_beside("topics", "create", **client)
    assert refused.returncode == 1
    assert "User:alice may not. Grant CREATE" in refused.stderr
    granted(secured_kafka, site, TOPICS)
    made = await laurel_beside("topics", "create", **client)
    assert made.returncode == 0, made.stderr

    event = ("send", "quest.completed", "quest_id=q1", "city_id=1", "rating=5", "--user", person)
    refused = await laurel_beside(*event, **client)
    assert f"does not let User:alice write {site.prefix}.quests. Grant WRITE" in refused.stderr
    granted(secured_kafka, site, PRODUCER)
    sent = await laurel_beside(*event, **client)
    assert sent.returncode == 0, sent.stderr

    granted(secured_kafka, site, WORKER)
    with a_worker(site, tmp_path / "worker.log", **client) as worker:
        await until_counted(database, 1, worker)
        await produce(site, [a_quest(user(number)) for number in range(50)])
        await until_counted(database, 51, worker)
        doctor = await laurel_beside("doctor", **client)
        assert worker.stop() == EXIT_OK
    lines = {line.split()[1]: line.split()[0] for line in doctor.stdout.splitlines()}
    assert {lines[name] for name in ("kafka", "topics", "partitions", "copies", "group")} == {"ok"}
    said = worker.log_path.read_text() + sent.stderr + doctor.stdout
    assert PASSWORD not in said


async def test_a_worker_without_a_right_says_which_and_counts_once_it_has_it(
    secured_kafka: SecuredBroker,
    site: Site,
    client: dict[str, str],
    database: Database,
    tmp_path: Path,
) -> None:
    await with_catalog(database)
    await site.make_topics()
    await produce(site, [a_quest()])
    # Another user than alice: rights stay for the session.
    client |= {
        "LAUREL_KAFKA__SASL_MECHANISM": "PLAIN",
        "LAUREL_KAFKA__SASL_USERNAME": "bob",
    }
    with a_worker(site, tmp_path / "worker.log", **client) as worker:
        await until_it_waits(worker, f"no topic {site.prefix}.cities", "that User:bob may see")
        granted(secured_kafka, site, [("DESCRIBE", "TOPIC", "{prefix}*")], "bob")
        await until_it_waits(worker, "does not let User:bob read", "Grant READ")
        doctor = await laurel_beside("doctor", **client)
        assert "does not let User:bob read" in doctor.stdout
        granted(secured_kafka, site, [("READ", "TOPIC", "{prefix}.quests")], "bob")
        await until_it_waits(worker, "does not let User:bob join the group")
        granted(secured_kafka, site, [("DESCRIBE", "GROUP", "{prefix}")], "bob")
        granted(secured_kafka, site, [("READ", "GROUP", "{prefix}")], "bob")
        await until_counted(database, 1, worker)
        await until_it_waits(worker, "does not let User:bob read", f"{site.prefix}.partners")
        granted(secured_kafka, site, [("READ", "TOPIC", "{prefix}*")], "bob")
        await until_ready(worker)
        assert worker.stop() == EXIT_OK


async def test_a_wrong_password_is_waited_out_and_never_shown(
    secured_kafka: SecuredBroker,
    site: Site,
    client: dict[str, str],
    database: Database,
    tmp_path: Path,
) -> None:
    await with_catalog(database)
    wrong = tmp_path / "wrong"
    wrong.write_text("of-another-user")
    wrong.chmod(0o600)
    log = tmp_path / "worker.log"
    client |= {"LAUREL_KAFKA__SASL_PASSWORD_FILE": str(wrong)}
    with a_worker(site, log, **client) as worker:
        await until_it_waits(worker, "does not take the password of alice by SCRAM-SHA-512")
        assert worker.stop() == EXIT_OK
    command = await laurel_beside("topics", "create", **client)
    assert command.returncode == 1
    assert "kafka_access_denied" in command.stderr
    assert "of-another-user" not in log.read_text() + command.stderr + command.stdout


async def test_a_client_certificate_is_enough(
    secured_kafka: SecuredBroker, site: Site, database: Database, tmp_path: Path
) -> None:
    await with_catalog(database)
    await site.make_topics()
    await produce(site, [a_quest()])
    granted(secured_kafka, site, WORKER, "CN=laurel-client")
    mutual = replace(site, brokers=secured_kafka.mutual)
    with a_worker(
        mutual,
        tmp_path / "worker.log",
        LAUREL_KAFKA__SECURITY_PROTOCOL="SSL",
        LAUREL_KAFKA__CA_FILE=str(secured_kafka.ca.cert),
        LAUREL_KAFKA__CERT_FILE=str(secured_kafka.client.cert),
        LAUREL_KAFKA__KEY_FILE=str(secured_kafka.client.key),
    ) as worker:
        await until_counted(database, 1, worker)
        assert worker.stop() == EXIT_OK

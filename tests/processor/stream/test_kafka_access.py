"""A client that no broker takes is told why, and how to change that."""

import base64
import json
import os
import time
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn

from ops.errors import UsageError
from ops.settings import Settings
from processor.stream import kafka_access, topics
from processor.stream.kafka_access import KafkaAccessDenied, KafkaUnreachable
from sandbox.ports import reserved
from tests.builders.certificates import a_ca, openssl, signed
from tests.fixtures.secured import PASSWORD, SecuredBroker

needs_openssl = pytest.mark.skipif(not openssl(), reason="there is no openssl")


def access_to(brokers: str, **kafka: Any) -> Settings:
    return Settings(kafka_brokers=brokers, kafka=kafka)


def scram(broker: SecuredBroker, **changed: Any) -> dict[str, Any]:
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "alice",
        "sasl_password": PASSWORD,
        "ca_file": broker.ca.cert,
    } | changed


def bearer(directory: Path, broker: SecuredBroker, seconds: int) -> dict[str, Any]:
    """Access by an unsigned token, which the broker of these tests takes while it is fresh."""

    def part(claims: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    now = int(time.time())
    claims = {"sub": "carol", "iat": now - 60, "exp": now + seconds}
    token = directory / "token"
    token.write_text(f"{part({'alg': 'none'})}.{part(claims)}.\n")
    token.chmod(0o600)
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "oauth_token_file": token,
        "ca_file": broker.ca.cert,
    }


@pytest.mark.kafka
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_user_gets_in_by_each_mechanism(
    secured_kafka: SecuredBroker, mechanism: str
) -> None:
    user = "bob" if mechanism == "PLAIN" else "alice"
    kafka = scram(secured_kafka, sasl_mechanism=mechanism, sasl_username=user)
    found = await topics.cluster(access_to(secured_kafka.secure, **kafka))
    assert found.principal == f"User:{user}"


@pytest.mark.kafka
async def test_a_token_gets_in_while_it_is_good(
    secured_kafka: SecuredBroker, tmp_path: Path
) -> None:
    good = access_to(secured_kafka.secure, **bearer(tmp_path, secured_kafka, 3600))
    assert (await topics.cluster(good)).id
    stale = access_to(secured_kafka.secure, **bearer(tmp_path, secured_kafka, -30))
    with pytest.raises(KafkaAccessDenied, match=r"does not take the token.*audience"):
        await topics.cluster(stale)


@pytest.mark.kafka
async def test_each_refusal_has_its_reason_and_the_way_out(secured_kafka: SecuredBroker) -> None:
    broker = secured_kafka
    tls = {"security_protocol": "SSL", "ca_file": broker.ca.cert}
    by_address = broker.secure.replace("localhost", "127.0.0.1")
    stranger = {"cert_file": broker.stranger.cert, "key_file": broker.stranger.key}
    broker.stranger.key.chmod(0o600)
    in_clear = scram(broker, security_protocol="SASL_PLAINTEXT", ca_file=None)
    refusals: list[tuple[str, dict[str, Any], str]] = [
        (broker.secure, scram(broker, sasl_password="of another"), r"password of alice.*SASL_PASS"),
        (
            broker.secure,
            scram(broker, ca_file=broker.stranger.cert),
            r"not trusted.*CA_FILE should",
        ),
        (broker.secure, scram(broker, ca_file=None), r"not trusted.*CA_FILE should name"),
        (by_address, scram(broker), r"for another name.*advertised.listeners"),
        (broker.plain, in_clear, r"asks for no SASL.*SECURITY_PROTOCOL=PLAINTEXT"),
        (broker.mutual, tls, r"misses one.*CERT_FILE"),
        (broker.mutual, tls | stranger, r"refuses the client's certificate.*ssl.truststore"),
    ]
    for brokers, kafka, words in refusals:
        with pytest.raises(KafkaAccessDenied, match=words) as caught:
            await topics.cluster(access_to(brokers, **kafka))
        assert PASSWORD not in caught.value.message
    # Neither says what it is: it may as well be going down.
    others: list[tuple[str, dict[str, Any]]] = [
        (broker.secure, {}),
        (broker.secure, tls),
        (broker.plain, tls),
    ]
    for brokers, kafka in others:
        with pytest.raises(
            KafkaUnreachable, match=r"another kind.*LAUREL_KAFKA__SECURITY_PROTOCOL"
        ):
            await topics.cluster(access_to(brokers, **kafka))


async def test_each_of_several_brokers_is_named_with_its_reason() -> None:
    with reserved() as port:
        brokers = f"127.0.0.1:{port},nowhere.invalid:9092"
        with pytest.raises(KafkaUnreachable) as caught:
            await topics.cluster(access_to(brokers))
    assert f"127.0.0.1:{port}: " in caught.value.message
    assert "nowhere.invalid:9092: " in caught.value.message
    assert "refused" in caught.value.message


def test_repr_has_no_secret() -> None:
    settings = access_to(
        "localhost:9092",
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="alice",
        sasl_password=PASSWORD,
    )
    access = kafka_access.of(settings)
    assert access.arguments["sasl_plain_password"] == PASSWORD
    assert PASSWORD not in repr(access) + str(access)


def test_certificates_that_are_none_are_refused_at_the_start(tmp_path: Path) -> None:
    absent, empty, pipe = tmp_path / "absent.pem", tmp_path / "empty.pem", tmp_path / "pipe.pem"
    os.mkfifo(pipe, 0o600)
    empty.write_text("nothing\n")
    empty.chmod(0o600)
    refused: list[tuple[dict[str, Path], str]] = [
        ({"ca_file": absent}, f"CA_FILE: {absent} cannot be used .No such file"),
        ({"ca_file": empty}, f"CA_FILE: {empty} cannot be used .NO_CERTIFICATE"),
        ({"cert_file": absent}, f"CERT_FILE: {absent} cannot be read .No such file"),
        ({"cert_file": empty}, f"CERT_FILE, LAUREL_KAFKA__KEY_FILE: {empty} and {empty} are no"),
        ({"ca_file": pipe}, f"CA_FILE: {pipe} is a pipe"),
        ({"cert_file": pipe}, f"CERT_FILE: {pipe} is a pipe"),
        ({"cert_file": empty, "key_file": pipe}, f"KEY_FILE: {pipe} is a pipe"),
    ]
    for files, words in refused:
        settings = access_to("localhost:9092", security_protocol="SSL", **files)
        with pytest.raises(UsageError, match=words):
            kafka_access.of(settings)


@needs_openssl
@pytest.mark.integration
def test_a_key_is_kept_well_and_asks_nobody_for_its_password(tmp_path: Path) -> None:
    import subprocess

    pair = signed(a_ca(tmp_path), "client")
    given: dict[str, Any] = {"security_protocol": "SSL", "cert_file": pair.cert}
    kafka_access.of(access_to("localhost:9092", key_file=pair.key, **given))
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-in", pair.key, "-aes256", "-passout", "pass:hunter2", "-out", locked],
        check=True,
    )
    locked.chmod(0o600)
    with pytest.raises(UsageError, match="KEY_PASSWORD_FILE"):
        kafka_access.of(access_to("localhost:9092", key_file=locked, **given))
    kafka_access.of(access_to("localhost:9092", key_file=locked, key_password="hunter2", **given))
    locked.chmod(0o644)
    with pytest.raises(UsageError, match=f"KEY_FILE: others can read .*chmod 600 {locked}"):
        kafka_access.of(
            access_to("localhost:9092", key_file=locked, key_password="hunter2", **given)
        )


def test_every_client_of_aiokafkas_takes_the_same_arguments() -> None:
    settings = access_to(
        "localhost:9092",
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="alice",
        sasl_password=PASSWORD,
    )
    given = set(kafka_access.of(settings).arguments) | {"sasl_oauth_token_provider"}
    for client in (AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient):
        assert given <= set(signature(client.__init__).parameters)
    assert given - {"bootstrap_servers"} <= set(signature(create_conn).parameters)

"""Access to Kafka: what can work together is taken, the rest is refused by name."""

import re
from typing import Any

import pytest

from ops.errors import UsageError
from ops.settings import load

SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}
ALICE = {"sasl_username": "alice", "sasl_password": "hunter2"}
OAUTH = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
ENDPOINT = {
    "oauth_token_url": "https://idp/token",
    "oauth_client_id": "laurel",
    "oauth_client_secret": "hunter2",
}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"security_protocol": "SSL"},
        {
            "security_protocol": "SSL",
            "ca_file": "ca.pem",
            "cert_file": "a.pem",
            "key_file": "a.key",
        },
        {"security_protocol": "SSL", "cert_file": "both.pem"},
        SASL | ALICE,
        SASL | ALICE | {"sasl_mechanism": "SCRAM-SHA-512", "ca_file": "ca.pem"},
        SASL | ALICE | {"security_protocol": "SASL_PLAINTEXT"},
        OAUTH | ENDPOINT | {"oauth_scope": "kafka"},
        OAUTH | ENDPOINT | {"oauth_token_url": "http://127.0.0.1:8080/token"},
        OAUTH | {"oauth_token_file": "/run/secrets/token"},
    ],
)
def test_what_can_work_is_taken(given: dict[str, Any]) -> None:
    assert load(kafka=given).kafka.security_protocol == given.get("security_protocol", "PLAINTEXT")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"replication_factor": 0}, "REPLICATION_FACTOR: a topic has at least one copy"),
        ({"security_protocol": "TLS"}, "SECURITY_PROTOCOL: .*'PLAINTEXT', 'SSL'"),
        ({"ca_file": "ca.pem"}, "CA_FILE is of TLS: set .*PROTOCOL to SSL or SASL_SSL, or leave"),
        (
            SASL | ALICE | {"security_protocol": "SASL_PLAINTEXT", "ca_file": "c"},
            "CA_FILE is of TLS",
        ),
        ({"security_protocol": "SSL", "key_file": "a.key"}, "KEY_FILE is of .*set .*CERT_FILE to"),
        ({"security_protocol": "SSL"} | ALICE, "SASL_USERNAME is of SASL: set .*to SASL_SSL"),
        ({"sasl_mechanism": "PLAIN"}, "SASL_MECHANISM is of SASL"),
        ({"security_protocol": "SASL_SSL"}, "SASL_MECHANISM is not set, and SASL_SSL needs one"),
        (SASL, "SASL_USERNAME, LAUREL_KAFKA__SASL_PASSWORD are not set: PLAIN needs"),
        (SASL | {"sasl_username": "alice"}, "SASL_PASSWORD is not set: PLAIN needs it"),
        (SASL | ALICE | ENDPOINT, "OAUTH_TOKEN_URL is of OAUTHBEARER"),
        (SASL | ALICE | {"sasl_mechanism": "GSSAPI"}, "SASL_MECHANISM: .*'PLAIN', 'SCRAM-SHA-256'"),
        (OAUTH, "OAUTH_TOKEN_URL, .*OAUTH_CLIENT_SECRET are not set.*OAUTH_TOKEN_FILE"),
        (OAUTH | ENDPOINT | ALICE, "SASL_USERNAME is of PLAIN and SCRAM"),
        (
            OAUTH | ENDPOINT | {"oauth_token_file": "t"},
            "OAUTH_TOKEN_URL stands beside .*TOKEN_FILE",
        ),
        (OAUTH | ENDPOINT | {"oauth_token_url": "http://idp/t"}, "should begin with https://"),
        (OAUTH | ENDPOINT | {"oauth_token_url": "https://a:b@idp/t"}, "has a user in it"),
    ],
)
def test_what_cannot_work_is_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(kafka=given)
    message = caught.value.message
    assert message.startswith("LAUREL_KAFKA__")
    assert re.search(words, message)
    assert "hunter2" not in message


def test_nothing_secret_prints() -> None:
    settings = load(kafka=OAUTH | ENDPOINT)
    assert "hunter2" not in repr(settings) + str(settings.kafka)

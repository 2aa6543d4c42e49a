"""The settings of Kafka: names, bounds, and how a client proves who it is.

What cannot work together is refused here, before anything is tried.
"""

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from ops.setting_types import PREFIX, Duration, SettingsPart

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

_DAY = timedelta(days=1)
_OF_TLS = ("ca_file", "cert_file", "key_file", "key_password")
_OF_PASSWORDS = ("sasl_username", "sasl_password")
_OF_CLIENT_CREDENTIALS = ("oauth_token_url", "oauth_client_id", "oauth_client_secret")
_OF_OAUTH = (*_OF_CLIENT_CREDENTIALS, "oauth_scope", "oauth_token_file")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class KafkaSettings(SettingsPart):
    """Names and bounds on the Kafka side, and access to it."""

    topic_prefix: str = Field(
        "laurel", pattern=r"^[A-Za-z0-9._-]{1,100}$", description="first part of every topic's name"
    )
    consumer_group: str = Field("laurel-worker", description="the group that the workers share")
    partitions: int = Field(
        4, ge=1, le=10_000, description="partitions of a topic that `laurel topics create` makes"
    )
    replication_factor: int = Field(
        -1,
        ge=-1,
        le=1_000,
        description="copies of a topic that `laurel topics create` makes; -1 = as many as the "
        "brokers' default.replication.factor says",
    )
    session_timeout: Duration = Field(
        timedelta(seconds=10),
        le=_DAY,
        description="silence after which the group gives a worker's partitions to others",
    )
    fetch_max_wait: Duration = Field(
        timedelta(milliseconds=50),
        le=_DAY,
        description="how long a broker may hold back a fetch that found nothing",
    )
    request_timeout: Duration = Field(
        timedelta(seconds=15), le=_DAY, description="how long a broker may take to answer"
    )
    security_protocol: SecurityProtocol = Field(
        "PLAINTEXT", description="what the brokers' listener speaks"
    )
    sasl_mechanism: SaslMechanism | None = Field(
        None, description="how a client proves who it is, where the protocol is one of SASL's"
    )
    sasl_username: str | None = Field(
        None,
        min_length=1,
        description="the user of PLAIN and SCRAM; ACLs name it as a principal of the type User",
    )
    sasl_password: SecretStr | None = Field(
        None, min_length=1, description="the password of PLAIN and SCRAM"
    )
    ca_file: Path | None = Field(
        None,
        description="the CA that the brokers' certificates are by (PEM); by default those that "
        "this system trusts",
    )
    cert_file: Path | None = Field(
        None, description="the client's certificate, and those between it and its CA (PEM)"
    )
    key_file: Path | None = Field(
        None, description="the key of the client's certificate (PEM), unless it is in the same file"
    )
    key_password: SecretStr | None = Field(
        None, min_length=1, description="the password of an encrypted key"
    )
    oauth_token_url: str | None = Field(
        None,
        description="OAUTHBEARER: the token endpoint, asked for client credentials (RFC 6749, 4.4)",
    )
    oauth_client_id: str | None = Field(
        None, min_length=1, description="OAUTHBEARER: the client's id at the token endpoint"
    )
    oauth_client_secret: SecretStr | None = Field(
        None, min_length=1, description="OAUTHBEARER: the client's secret at the token endpoint"
    )
    oauth_scope: str | None = Field(
        None, description="OAUTHBEARER: the scope that the token endpoint is asked for"
    )
    oauth_token_file: Path | None = Field(
        None,
        description="OAUTHBEARER, in place of an endpoint: a file with the token, kept fresh by "
        "others; read again for each connection",
    )

    @property
    def is_tls(self) -> bool:
        """Return whether connections are encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def is_sasl(self) -> bool:
        """Return whether a client proves who it is by SASL."""
        return self.security_protocol.startswith("SASL_")

    @model_validator(mode="after")
    def _relations_hold(self) -> Self:
        if self.replication_factor == 0:
            raise ValueError(
                f"{_name('replication_factor')}: a topic has at least one copy. Write -1 for the "
                "brokers' default."
            )
        if self.fetch_max_wait >= self.request_timeout:
            raise ValueError(
                f"{_name('fetch_max_wait')} must be shorter than {_name('request_timeout')}: "
                "a broker that holds back a fetch has not gone."
            )
        if not self.is_tls:
            self._refuse(_OF_TLS, "is of TLS", ("security_protocol", "SSL or SASL_SSL"))
        if self.cert_file is None:
            self._refuse(
                ("key_file", "key_password"),
                "is of a client's certificate",
                ("cert_file", "the certificate"),
            )
        if not self.is_sasl:
            self._refuse(
                ("sasl_mechanism", *_OF_PASSWORDS, *_OF_OAUTH),
                "is of SASL",
                ("security_protocol", "SASL_SSL (or SASL_PLAINTEXT, where nobody listens)"),
            )
        elif self.sasl_mechanism is None:
            raise ValueError(
                f"{_name('sasl_mechanism')} is not set, and {self.security_protocol} needs one: "
                "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER."
            )
        elif self.sasl_mechanism == "OAUTHBEARER":
            self._check_oauth()
        else:
            self._refuse(_OF_OAUTH, "is of OAUTHBEARER", ("sasl_mechanism", "OAUTHBEARER"))
            self._need(_OF_PASSWORDS, f"{self.sasl_mechanism} needs it")
        return self

    def _check_oauth(self) -> None:
        self._refuse(_OF_PASSWORDS, "is of PLAIN and SCRAM", ("sasl_mechanism", "one of those"))
        if self.oauth_token_file is not None:
            self._refuse(
                (*_OF_CLIENT_CREDENTIALS, "oauth_scope"),
                f"stands beside {_name('oauth_token_file')}",
                None,
            )
            return
        self._need(
            _OF_CLIENT_CREDENTIALS,
            f"OAUTHBEARER needs it, or a token in the file that {_name('oauth_token_file')} names",
        )
        url = urlsplit(self.oauth_token_url or "")
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
            raise ValueError(
                f"{_name('oauth_token_url')} should begin with https://: the client's secret "
                "goes there."
            )
        if url.username is not None:
            raise ValueError(
                f"{_name('oauth_token_url')} has a user in it: that is what "
                f"{_name('oauth_client_id')} and {_name('oauth_client_secret')} are for."
            )

    def _refuse(self, fields: tuple[str, ...], why: str, where: tuple[str, str] | None) -> None:
        for field in fields:
            if getattr(self, field) is not None:
                way_out = f"set {_name(where[0])} to {where[1]}, or " if where else ""
                raise ValueError(f"{_name(field)} {why}: {way_out}leave it out.")

    def _need(self, fields: tuple[str, ...], why: str) -> None:
        missing = [_name(field) for field in fields if getattr(self, field) is None]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            raise ValueError(f"{', '.join(missing)} {verb} not set: {why}.")


def _name(field: str) -> str:
    return f"{PREFIX}KAFKA__{field.upper()}"

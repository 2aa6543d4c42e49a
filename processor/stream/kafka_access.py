"""How every client of Kafka's is made: addresses, TLS, and who it says it is.

Consumer, admin client and producer have one set of arguments, so that what one may, all may. A
client that no broker takes is told why: aiokafka itself only logs it.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from ops import plain_files, secret_files
from ops.errors import Transient, UsageError
from ops.kafka_settings import KafkaSettings
from ops.settings import Settings

# OpenSSL, x509_vfy.h: certificate verification results.
_CERTIFICATE_EXPIRED = 10
_NAME_MISMATCHES = (62, 64)  # host name, IP address
# What a broker answers to a client certificate that is missing, or that it does not trust.
_CLIENT_CERTIFICATE_REFUSED = (
    "CERTIFICATE_REQUIRED",
    "UNKNOWN_CA",
    "BAD_CERTIFICATE",
    "CERTIFICATE_UNKNOWN",
    "HANDSHAKE_FAILURE",
)


_HURRIED = timedelta(seconds=4)

# The argument of a client that a connection does not have.
_OF_CLIENT = "bootstrap_servers"


class KafkaUnreachable(Transient):
    """No broker answers."""

    code = "kafka_unreachable"


class KafkaAccessDenied(KafkaUnreachable):
    """A broker answers, and does not take this client; somebody may be about to change that."""

    code = "kafka_access_denied"


class _TokenRefused(Exception):
    """A broker does not take a token."""


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """The arguments of a client; `repr` shows no secret."""

    brokers: str
    arguments: dict[str, Any] = field(repr=False)

    async def refusal(self, error: BaseException) -> KafkaUnreachable:
        """Return `error` in Laurel's words, with what each broker answers when it is asked again.

        Args:
            error: what a client raised that could not connect.
        """
        servers: list[str] = self.arguments["bootstrap_servers"]
        answers = [(server, await self._answer(server)) for server in servers]
        denials = [(server, self._denial(each)) for server, each in answers if each is not None]
        if reasons := [f"{server}: {denial}" for server, denial in denials if denial]:
            return KafkaAccessDenied(
                f"Kafka does not take this client. {'; '.join(reasons)}.", brokers=self.brokers
            )
        told = [f"{server}: {self._absence(each)}" for server, each in answers if each is not None]
        return KafkaUnreachable(
            f"Kafka does not answer at {self.brokers} ({'; '.join(told) or error})",
            brokers=self.brokers,
        )

    async def trouble_at(self, server: str) -> str | None:
        """Return why the broker at `server` does not take this client; None where it does."""
        error = await self._answer(server)
        return None if error is None else self._denial(error) or self._absence(error)

    async def _answer(self, server: str) -> BaseException | None:
        """Connect to `server` alone, as a client would; return the error."""
        options = {key: value for key, value in self.arguments.items() if key != _OF_CLIENT}
        ((host, port, _),) = AIOKafkaClient(bootstrap_servers=server).hosts
        try:
            conn = await create_conn(host, port, **options)
            try:
                answered = await conn.send(MetadataRequest([]))
            finally:
                with suppress(Exception):
                    await conn.close()
            # A broker that does not take a token says so where aiokafka does not look, and answers
            # what is asked then with nothing.
            if not answered.brokers and self.arguments.get("sasl_mechanism") == "OAUTHBEARER":
                return _TokenRefused()
        except (OSError, KafkaError, TimeoutError) as error:
            return _cause(error)
        return None

    def _absence(self, error: BaseException) -> str:
        """Return what `error` says to a person."""
        if isinstance(error, TimeoutError):
            return "it does not answer in time"
        if isinstance(error, ConnectionResetError) or _is_closed(error):
            return (
                "it ends the connection at once, as a listener of another kind does: compare "
                f"LAUREL_KAFKA__SECURITY_PROTOCOL ({self.arguments['security_protocol']}) and the "
                "port with the brokers' listeners"
            )
        said = error.strerror if isinstance(error, OSError) else None
        if isinstance(error, ConnectionError) and error.errno:
            said = os.strerror(error.errno)  # asyncio writes the address once more
        return said or str(error) or type(error).__name__

    def _denial(self, error: BaseException) -> str | None:
        """Return why a broker does not take this client, and the way out; None where it is away."""
        given = self.arguments
        mechanism = given.get("sasl_mechanism")
        match error:
            case ssl.SSLCertVerificationError():
                return _of_certificate(error)
            case ssl.SSLError():
                return self._of_tls(error)
            case SaslAuthenticationFailed():
                return (
                    f"it does not take the password of {given.get('sasl_plain_username')} by "
                    f"{mechanism}. Compare LAUREL_KAFKA__SASL_USERNAME, "
                    "LAUREL_KAFKA__SASL_PASSWORD and LAUREL_KAFKA__SASL_MECHANISM with the "
                    "brokers' users"
                )
            case UnsupportedSaslMechanismError():
                return (
                    f"it does not offer {mechanism}. LAUREL_KAFKA__SASL_MECHANISM should be one "
                    "that it does (sasl.enabled.mechanisms)"
                )
            case IllegalSaslStateError():
                without = given["security_protocol"].replace("SASL_", "")
                return (
                    "its listener asks for no SASL. Try another port, or "
                    f"LAUREL_KAFKA__SECURITY_PROTOCOL={without}"
                )
            case _TokenRefused():
                return (
                    "it does not take the token. Compare the token's scope, audience, issuer and "
                    "expiry with what the brokers expect (sasl.oauthbearer.expected.audience)"
                )
        return None

    def _of_tls(self, error: ssl.SSLError) -> str:
        reason = (error.reason or "").upper()
        if any(word in reason for word in _CLIENT_CERTIFICATE_REFUSED):
            return (
                f"it refuses the client's certificate, or misses one ({error.reason}). "
                "LAUREL_KAFKA__CERT_FILE and LAUREL_KAFKA__KEY_FILE should name one by a CA that "
                "the brokers trust (ssl.truststore)"
            )
        return (
            f"it speaks no TLS that this client knows ({error.reason}). Compare "
            "LAUREL_KAFKA__SECURITY_PROTOCOL and the port with the brokers' listeners"
        )


def of(settings: Settings) -> KafkaAccess:
    """Return how a client is made that `settings` ask for.

    Raises:
        UsageError: LAUREL_KAFKA_BROKERS is not set, or a file of certificates or of a key is not
            there, is none, or is not well kept.
    """
    brokers = settings.need("kafka_brokers")
    kafka = settings.kafka
    return KafkaAccess(
        brokers,
        {
            "bootstrap_servers": [each.strip() for each in brokers.split(",")],
            "request_timeout_ms": round(kafka.request_timeout.total_seconds() * 1000),
            "security_protocol": kafka.security_protocol,
            **dict(_sasl(kafka)),
            **({"ssl_context": _tls(kafka)} if kafka.is_tls else {}),
        },
    )


def hurried(settings: Settings) -> Settings:
    """Return `settings` for a person who waits: what takes long to answer is as good as away."""
    bound = min(settings.kafka.request_timeout, _HURRIED)
    kafka = settings.kafka.model_copy(update={"request_timeout": bound})
    return settings.model_copy(update={"kafka": kafka})


def principal(kafka: KafkaSettings) -> str:
    """Return who the client is to the brokers, as far as its settings say; for messages."""
    if kafka.sasl_username is not None:
        return f"User:{kafka.sasl_username}"
    return "this client" if kafka.is_sasl or kafka.cert_file is not None else ""


def _sasl(kafka: KafkaSettings) -> Iterator[tuple[str, Any]]:
    if not kafka.is_sasl:
        return
    yield "sasl_mechanism", kafka.sasl_mechanism
    if kafka.sasl_mechanism == "OAUTHBEARER":
        from processor.stream.oauth import TokenProvider  # aiohttp, for who needs it

        yield "sasl_oauth_token_provider", TokenProvider(kafka)
    elif kafka.sasl_password is not None:
        yield "sasl_plain_username", kafka.sasl_username
        yield "sasl_plain_password", kafka.sasl_password.get_secret_value()


def _tls(kafka: KafkaSettings) -> ssl.SSLContext:
    for name in ("ca_file", "cert_file", "key_file"):
        if (named := getattr(kafka, name)) is not None:
            plain_files.check(named, f"LAUREL_KAFKA__{name.upper()}")
    try:
        # With a CA of its own nobody else is trusted: not whom this system trusts for web pages.
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=kafka.ca_file)
    except OSError as error:
        raise UsageError(
            f"LAUREL_KAFKA__CA_FILE: {kafka.ca_file} cannot be used ({_said(error)}). It should "
            "name a file with certificates in PEM."
        ) from None
    if kafka.cert_file is not None:
        _load_certificate(context, kafka, kafka.cert_file)
    return context


def _load_certificate(context: ssl.SSLContext, kafka: KafkaSettings, path: Path) -> None:
    key, name = (kafka.key_file, "KEY_FILE") if kafka.key_file else (path, "CERT_FILE")
    secret_files.check(key, f"LAUREL_KAFKA__{name}")
    password = kafka.key_password.get_secret_value() if kafka.key_password else ""
    try:
        # A password always, though an empty one: without, OpenSSL would ask at the terminal.
        context.load_cert_chain(path, kafka.key_file, lambda: password)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"LAUREL_KAFKA__CERT_FILE, LAUREL_KAFKA__KEY_FILE: {path} and {key} are no certificate "
            f"and its key ({_said(error)}). Both should be in PEM; an encrypted key needs "
            "LAUREL_KAFKA__KEY_PASSWORD_FILE."
        ) from None


def _said(error: OSError | ValueError) -> str:
    """Return the reason without the file's name; of TLS, OpenSSL's word for it."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not in PEM"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _of_certificate(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _NAME_MISMATCHES:
        return (
            f"its certificate is for another name ({error.verify_message}). LAUREL_KAFKA_BROKERS, "
            "and the brokers' advertised.listeners, should have a name that is in it"
        )
    if error.verify_code == _CERTIFICATE_EXPIRED:
        return "its certificate has expired: the brokers need a new one"
    return (
        f"its certificate is by a CA that is not trusted ({error.verify_message}). "
        "LAUREL_KAFKA__CA_FILE should name that CA's certificate"
    )


def _is_closed(error: BaseException) -> bool:
    return isinstance(error, KafkaConnectionError) and "closed" in str(error)


def _cause(error: BaseException) -> BaseException:
    """Return what ended the connection, where aiokafka kept it, beside its own word for that."""
    cause = error.__cause__
    return cause if isinstance(cause, (ssl.SSLError, KafkaError)) else error

"""Tokens for OAUTHBEARER: from an endpoint by client credentials (RFC 6749, 4.4), or from a file.

A token is asked for when a connection is made. A broker ends connections whose token has expired
(connections.max.reauth.ms), and the next one brings a fresh one.
"""

import time
from base64 import b64encode
from urllib.parse import quote

import aiohttp
import msgspec
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from ops import secret_files
from ops.errors import UsageError
from ops.kafka_settings import KafkaSettings

# Of its life a token is used so much: clocks differ, and a connection takes its time.
_OF_ITS_LIFE = 0.8
# Clients connect again many times a second; the endpoint is not asked each time.
_PAUSE_S = 2.0
_ANSWER_BYTES_MAX = 256 * 1024
_ERROR_TEXT_MAX = 200


class TokenUnavailable(KafkaConnectionError):  # type: ignore[misc]
    """There is no token at the moment; one of aiokafka's errors, so that it tries again."""


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Brings a token to each connection; one from the endpoint is kept while it is good.

    Args:
        settings: of OAUTHBEARER.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._kept = ("", 0.0)
        self._refused = ("", 0.0)

    async def token(self) -> str:
        """Return a token.

        Raises:
            TokenUnavailable: the file or the endpoint has none; the message has no secret.
        """
        if self._settings.oauth_token_file is not None:
            try:
                return secret_files.read(
                    self._settings.oauth_token_file, "LAUREL_KAFKA__OAUTH_TOKEN_FILE"
                )
            except UsageError as error:
                raise TokenUnavailable(error.message) from None
        kept, until = self._kept
        if time.monotonic() < until:
            return kept
        reason, until = self._refused
        if time.monotonic() < until:
            raise TokenUnavailable(reason)
        asked_at = time.monotonic()
        try:
            token, seconds = await self._asked()
        except TokenUnavailable as error:
            self._refused = (str(error), time.monotonic() + _PAUSE_S)
            raise
        self._kept = (token, asked_at + seconds * _OF_ITS_LIFE)
        return token

    async def _asked(self) -> tuple[str, float]:
        """Ask the endpoint; return the token, and for how many seconds it is good."""
        kafka = self._settings
        secret = kafka.oauth_client_secret
        form = {"grant_type": "client_credentials"}
        if kafka.oauth_scope:
            form["scope"] = kafka.oauth_scope
        # RFC 6749, 2.3.1: encoded as in a form before they are joined.
        user = quote(kafka.oauth_client_id or "", safe="")
        password = quote(secret.get_secret_value() if secret else "", safe="")
        basic = b64encode(f"{user}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Accept": "application/json"}
        timeout = aiohttp.ClientTimeout(kafka.request_timeout.total_seconds())
        url = str(kafka.oauth_token_url)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.post(url, data=form, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(_ANSWER_BYTES_MAX)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TokenUnavailable(
                f"no token from {url}: {str(error) or type(error).__name__}. See "
                "LAUREL_KAFKA__OAUTH_TOKEN_URL"
            ) from None
        return _token(url, answer.status, body)


def _token(url: str, status: int, body: bytes) -> tuple[str, float]:
    try:
        said = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError:
        said = {}
    token, seconds = said.get("access_token"), said.get("expires_in", 0)
    if status == 200 and isinstance(token, str) and token:
        return token, float(seconds) if isinstance(seconds, (int, float)) else 0.0
    # RFC 6749, 5.2: `error` is one of a few words. What else is in there may be anything.
    word = str(said.get("error", ""))[:_ERROR_TEXT_MAX]
    raise TokenUnavailable(
        f"no token from {url}: it answers {status}{f', {word}' if word else ''}. Compare "
        "LAUREL_KAFKA__OAUTH_CLIENT_ID, LAUREL_KAFKA__OAUTH_CLIENT_SECRET and "
        "LAUREL_KAFKA__OAUTH_SCOPE with its own"
    )

"""Tokens of OAUTHBEARER, from an endpoint that answers in every way and from a file."""

from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web

from ops.kafka_settings import KafkaSettings
from processor.stream.oauth import TokenProvider, TokenUnavailable
from sandbox.ports import reserved

pytestmark = pytest.mark.integration

SECRET = "hunter2:+ %"


@dataclass
class Endpoint:
    """A token endpoint; it answers `answers` in turn, the last one for ever."""

    answers: list[tuple[int, Any]]
    forms: list[dict[str, str]] = field(default_factory=list)
    users: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        name, _, secret = (
            b64decode(request.headers["Authorization"].removeprefix("Basic "))
            .decode()
            .partition(":")
        )
        self.users.append((unquote(name), unquote(secret)))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        return web.json_response(body, status=status)


@asynccontextmanager
async def an_endpoint(*answers: tuple[int, Any]) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(list(answers))
    app = web.Application()
    app.add_routes([web.post("/token", endpoint.answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    with reserved() as port:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        endpoint.url = f"http://127.0.0.1:{port}/token"
        try:
            yield endpoint
        finally:
            await runner.cleanup()


def a_provider(url: str, **more: str) -> TokenProvider:
    return TokenProvider(
        KafkaSettings.model_validate(
            {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "OAUTHBEARER",
                "oauth_token_url": url,
                "oauth_client_id": "lau rel",
                "oauth_client_secret": SECRET,
                **more,
            }
        )
    )


async def test_the_endpoint_is_asked_as_the_standard_says_and_once() -> None:
    async with an_endpoint((200, {"access_token": "abc", "expires_in": 3600})) as endpoint:
        provider = a_provider(endpoint.url, oauth_scope="kafka read")
        assert [await provider.token() for _ in range(3)] == ["abc"] * 3
    assert endpoint.forms == [{"grant_type": "client_credentials", "scope": "kafka read"}]
    assert endpoint.users == [("lau rel", SECRET)]


async def test_a_token_that_lives_for_no_time_is_asked_for_again() -> None:
    answers = [(200, {"access_token": name}) for name in ("one", "two")]
    async with an_endpoint(*answers) as endpoint:
        provider = a_provider(endpoint.url)
        assert [await provider.token(), await provider.token()] == ["one", "two"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"error": "invalid_client", "error_description": SECRET}, "401, invalid_client"),
        (500, "broken: " + SECRET, "500"),
        (200, {"token": "abc"}, "200"),
        (302, "elsewhere", "302"),
    ],
)
async def test_an_endpoint_without_a_token_is_told_and_not_asked_at_once_again(
    status: int, body: Any, words: str
) -> None:
    async with an_endpoint((status, body)) as endpoint:
        provider = a_provider(endpoint.url)
        for _ in range(2):
            with pytest.raises(TokenUnavailable, match=f"{words}.*OAUTH_CLIENT_ID") as caught:
                await provider.token()
            assert SECRET not in str(caught.value)
    assert len(endpoint.forms) == 1


async def test_an_endpoint_that_is_away_is_named() -> None:
    with reserved() as port, pytest.raises(TokenUnavailable, match=f"127.0.0.1:{port}.*TOKEN_URL"):
        await a_provider(f"http://127.0.0.1:{port}/token").token()


async def test_a_file_is_read_for_each_connection(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    path.chmod(0o600)
    provider = TokenProvider(
        KafkaSettings(
            security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", oauth_token_file=path
        )
    )
    assert await provider.token() == "one"
    path.write_text("two\n")
    assert await provider.token() == "two"
    path.unlink()
    with pytest.raises(TokenUnavailable, match=f"OAUTH_TOKEN_FILE: {path}"):
        await provider.token()

"""The HTTP endpoints, on a network in process: requests that no `TonProcess` would make."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from sandbox.ports import reserved
from sandbox.ton.admin import administered
from sandbox.ton.network import TonNetwork
from tests.sandbox.ton.chains import OWNER
from tests.sandbox.ton.contracts import GRAM


@pytest_asyncio.fixture
async def admin_url(ton: TonNetwork) -> AsyncIterator[str]:
    with reserved() as port:
        async with administered(ton, "127.0.0.1", port) as url:
            yield url


async def asked(method: str, url: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=body) as response,
    ):
        return response.status, await response.json()


async def test_money_arrives_before_the_answer(ton: TonNetwork, admin_url: str) -> None:
    body = f'{{"address": "{OWNER}", "amount_nano": {GRAM}}}'.encode()
    status, answer = await asked("POST", f"{admin_url}/fund", body)
    account = ton.chain.account(OWNER)
    assert account is not None
    assert (status, account.balance_nano, answer["transactions"]) == (200, GRAM, 2)


async def test_the_status_says_which_network_this_is(ton: TonNetwork, admin_url: str) -> None:
    status, answer = await asked("GET", f"{admin_url}/status")
    assert (status, answer["zero_state"]) == (200, ton.chain.zero.id.root_hash.hex())
    assert answer["waiting"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/fund", b""),
        ("/fund", b"[]"),
        ("/fund", b'{"address": 5, "amount_nano": 1}'),
        ("/fund", b'{"address": "0:00", "amount_nano": true}'),
        ("/fund", b'{"address": "0:00", "amount_nano": 1.5}'),
        ("/fund", b'{"address": "0:00", "amount_nano": 1}'),
        ("/advance-clock", b'{"seconds": "1"}'),
        ("/advance-clock", b'{"seconds": NaN}'),
        ("/advance-clock", b'{"seconds": Infinity}'),
        ("/advance-clock", b'{"seconds": 1e300}'),
        ("/advance-clock", b'{"seconds": -1}'),
    ],
)
async def test_a_request_of_the_wrong_shape_is_explained(
    admin_url: str, path: str, body: bytes
) -> None:
    status, answer = await asked("POST", admin_url + path, body)
    assert (status, answer["code"]) == (400, "usage")
    assert answer["message"]

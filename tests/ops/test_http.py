"""/live, /ready and /metrics."""

import socket

import aiohttp
import pytest

from ops import metrics
from ops.errors import UsageError
from ops.http import serving
from ops.lifecycle import Part, Readiness
from ops.metric_roles import Role
from ops.setting_parts import HttpSettings

pytestmark = pytest.mark.integration


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_an_address_of_ipv6_stands_in_brackets() -> None:
    async with (
        serving(HttpSettings(host="[::1]", port=0), Readiness(), Role.WORKER) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}/live") as answer,
    ):
        assert url.startswith("http://[::1]:")
        assert answer.status == 200


async def test_a_process_says_whether_it_is_ready_and_what_it_waits_for() -> None:
    readiness = Readiness()
    readiness.facts["block"] = 7
    alive = True
    async with (
        serving(HttpSettings(port=0), readiness, Role.WORKER, lambda: alive) as url,
        aiohttp.ClientSession() as session,
    ):
        readiness.wait_for(Part.KAFKA, "no broker at 127.0.0.1:9092")
        readiness.arrived(Part.START)
        async with session.get(f"{url}/ready") as answer:
            assert (answer.status, await answer.json()) == (
                503,
                {
                    "ready": False,
                    "waits": {"kafka": "no broker at 127.0.0.1:9092"},
                    "degraded": {},
                    "facts": {"block": 7},
                },
            )
        readiness.arrived(Part.KAFKA)
        async with session.get(f"{url}/ready") as answer:
            assert answer.status == 200
        async with session.get(f"{url}/live") as answer:
            assert answer.status == 200
        alive = False
        async with session.get(f"{url}/live") as answer:
            assert answer.status == 503


async def test_metrics_are_there_in_prometheus_format() -> None:
    metrics.DEAD_LETTERS.labels("laurel.quests", "not_json").inc()
    async with (
        serving(HttpSettings(port=0), Readiness(), Role.WORKER) as url,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"{url}/metrics") as answer:
            body = await answer.text()
        assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'laurel_dead_letters_total{reason="not_json",topic="laurel.quests"}' in body


async def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UsageError,
            match=f"LAUREL_HTTP__PORT: .*127.0.0.1:{port}: another process.*another port",
        ):
            async with serving(HttpSettings(port=port), Readiness(), Role.WORKER):
                pass


async def test_a_host_that_is_unknown_is_named() -> None:
    with pytest.raises(UsageError, match=r"LAUREL_HTTP__HOST.*nowhere\.invalid"):
        async with serving(HttpSettings(host="nowhere.invalid"), Readiness(), Role.WORKER):
            pass

"""/live, /ready and /metrics."""

import aiohttp
import pytest

from ops import metrics
from ops.http import serving
from ops.lifecycle import Part, Readiness
from ops.settings import HttpSettings

pytestmark = pytest.mark.integration


async def test_a_process_says_whether_it_is_ready_and_what_it_waits_for() -> None:
    readiness = Readiness()
    alive = True
    async with (
        serving(HttpSettings(), readiness, lambda: alive) as url,
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
    metrics.DEAD_LETTERS.labels("not_json").inc()
    async with serving(HttpSettings(), Readiness()) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/metrics") as answer:
            body = await answer.text()
        assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'laurel_dead_letters_total{reason="not_json"}' in body

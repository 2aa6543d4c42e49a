"""What boards and alerts ask is answered: all of Laurel runs, a real Prometheus scrapes it, and each
expression is evaluated."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio

from tests.builders.boards import NAMES, PICTURE_BYTES_MAX, boards
from tests.builders.prometheus import ROOT, Prometheus, rule_groups
from tests.builders.promql import asked
from tests.e2e.observed import Observed, observed
from tests.e2e.workers import until
from tests.fixtures import parts

# What has no data here, and why that is no fault.
WITHOUT_DATA = {
    "laurel_collections_stopped": "no collection is stopped, and which there are nobody knows before",
    "laurel:job:known": "a job is known after an hour",
    "laurel:wallet:days_left": "the pace of spending is taken every five minutes",
}
# Far more than a rate needs at a scrape a second, and less than the run takes.
WINDOW = "30s"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(prometheus_server: Path) -> AsyncIterator[Observed]:
    hurry = {"LAUREL_MINTER__RECONCILE_EVERY": "2s"}
    async with observed(prometheus_server, environment=hurry) as made:
        await something_of_everything(made)
        yield made


async def test_boards_and_alerts_are_answered(running: Observed) -> None:
    missing: list[str] = []

    async def answered() -> bool:
        running.stack.check()
        missing[:] = await asyncio.to_thread(lambda: list(unanswered(running.prometheus)))
        return not missing

    try:
        # Rates need two scrapes, and rules that stand on others a turn more each.
        await until(answered, "answers")
    except AssertionError:
        raise AssertionError("\n".join(["without data:", *missing])) from None


async def test_the_boards_can_be_drawn(running: Observed, tmp_path: Path) -> None:
    if find_spec("matplotlib") is None:
        parts.missing("matplotlib, of the extra `dev`, is not installed")
    options = ("--prometheus", running.prometheus.url, "--minutes", "1", "--to", str(tmp_path))
    drawing = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "docs" / "boards.py", "draw", *options
    )
    assert await drawing.wait() == 0
    drawn = sizes(tmp_path)
    assert sorted(drawn) == sorted(f"{name}.png" for name in NAMES)
    assert max(drawn.values()) < PICTURE_BYTES_MAX


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


async def something_of_everything(running: Observed) -> None:
    """Have events counted, a message refused, a mint held and one confirmed, trouble, findings."""
    await running.earn(range(1, 5))
    await running.link(range(1, 3))
    await running.send_nonsense()
    await running.ask_too_early([10])
    await running.until('laurel_mint_tasks{status="confirmed"} >= 2')
    await running.until('laurel_mint_tasks{hold="no_wallet"} >= 2')
    assert await running.lose_token_id()
    await running.until('laurel_reconcile_findings{finding="lost_id"} == 1')
    async with running.without_database():
        await running.earn([5])
        await running.until('laurel_retries_total{job="laurel-worker"} > 0')
    with running.without_chain():
        await running.until('laurel_retries_total{job="laurel-minter"} > 0')


def unanswered(prometheus: Prometheus) -> Iterator[str]:
    """Yield what has no data, of whose expression."""
    for board in boards():
        for panel in board.panels:
            for query in panel.queries(WINDOW):
                # That everything is 0 is well, and hidden.
                expression = query.expression.removesuffix(" > 0")
                if not is_answered(prometheus, expression):
                    yield f"{board.name}, {panel.title}: {expression}"
    for group in rule_groups():
        for rule in group["rules"]:
            prometheus.query(rule["expr"])  # can be evaluated, whatever it says
            for selector in asked(rule["expr"]).selectors:
                if not is_answered(prometheus, str(selector)):
                    yield f"{rule.get('alert') or rule['record']}: {selector}"


def is_answered(prometheus: Prometheus, expression: str) -> bool:
    return bool(prometheus.query(expression)) or any(each in expression for each in WITHOUT_DATA)

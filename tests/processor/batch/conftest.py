"""What tests of batches share."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from store.engine import Database
from tests.builders.messages import Log, count

Told = Callable[..., Awaitable[None]]


@pytest.fixture
def told(counting: Database) -> Told:
    """Count one batch after the other, of one log; commands stand where the test puts them."""
    log = Log()

    async def tell(*batches: list[dict[str, Any]]) -> None:
        for batch in batches:
            log.append(*batch)
            await count(counting, log)

    return tell

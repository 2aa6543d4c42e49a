"""Notice while a worker runs that a topic was deleted and made anew under the same name.

Its partitions are compared when they are assigned (transport.py); a topic that comes back within
half a minute, with as many partitions, makes no group form anew, so they are compared now and then.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import Transient

# Kafka's clients look at a topic anew after 30 s here (app.py); this is one small request.
LOOK_INTERVAL = timedelta(seconds=10)


async def watch(
    pause_strangers: Callable[[], Awaitable[None]], clock: Clock = SYSTEM_CLOCK
) -> None:
    """Have the topics compared every few seconds, for as long as the worker runs."""
    while True:
        await clock.sleep(LOOK_INTERVAL)
        # The batcher waits for an absent database, the watchdog for brokers; both say so.
        with suppress(Transient):
            await pause_strangers()

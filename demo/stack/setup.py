"""Set an empty stack up by an operator's commands, and start its services."""

import asyncio
import json

from demo.stack.processes import Stack

# Far more than some hundred tokens and six collections cost.
_FUNDS_NANO = 1_000 * 10**9


async def prepare(stack: Stack) -> str:
    """Make tables, topics, catalog and a wallet with money; return the wallet's raw address.

    Raises:
        CommandFailed: one of the commands failed.
    """
    address, _ = await asyncio.gather(_wallet(stack), _tables_and_topics(stack))
    return address


async def start_services(stack: Stack, *, workers: int) -> None:
    """Start so many workers and a minter; return once each is ready.

    Raises:
        PartFailed: one ended, or is not ready in time.
    """
    services = [stack.add(f"worker-{number}", "worker") for number in range(1, workers + 1)]
    services.append(stack.add("minter", "minter"))
    for service in services:
        service.start()
    await asyncio.gather(*(service.wait_until_ready() for service in services))


async def _tables_and_topics(stack: Stack) -> None:
    # In this order: the catalog lies in tables, and says which topics there are.
    await stack.must("db", "upgrade")
    await stack.must("catalog", "apply")
    await stack.must("topics", "create")


async def _wallet(stack: Stack) -> str:
    # The address follows from words and network, so the money can be there before the minter is.
    await stack.must("wallet", "new", str(stack.words_path))
    address = str(json.loads(await stack.must("wallet", "show", "--json"))["address"])
    await stack.ton.fund(address, _FUNDS_NANO)
    return address

"""Run the network until it is asked to end.

The body of `python -m sandbox.ton` and of `laurel sandbox ton`.
"""

import argparse
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

from ops.errors import UsageError
from ops.lifecycle import EXIT_OK, Stop
from ops.logs import logger
from sandbox.ports import reachable, reserved
from sandbox.ton.admin import administered
from sandbox.ton.chain import ChainOptions
from sandbox.ton.network import TonNetwork, TonOptions, write_json

log = logger("ton.runner")

# Written once everything answers; a parent waits for it.
READY_NAME = "network.json"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running network is found."""

    config_path: str
    admin_url: str


async def serve(
    options: TonOptions,
    stop: Stop,
    *,
    admin_port: int | None = None,
    announce: Callable[[Addresses], None] = lambda _addresses: None,
) -> int:
    """Run a network and its HTTP endpoints until `stop`; return the exit code.

    Args:
        options: of the network; `directory` is where the global config goes.
        stop: the request to end.
        admin_port: of the endpoints; a free one unless given.
        announce: called once everything answers.

    Raises:
        PartMissing: there is no virtual machine for this platform.
        UsageError: an address is taken, or an option is refused.
    """
    # Outside the network, whose tasks would wrap an error of the port's.
    with reserved(options.host, admin_port) as port:
        return await _served(options, stop, port, announce)


async def _served(
    options: TonOptions, stop: Stop, port: int, announce: Callable[[Addresses], None]
) -> int:
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(TonNetwork.start(options))
        await stack.enter_async_context(administered(network, options.host, port))
        addresses = Addresses(str(network.config_path), f"http://{reachable(options.host)}:{port}")
        if options.directory is not None:
            write_json(options.directory / READY_NAME, asdict(addresses))
        log.info("network_ready", **asdict(addresses))
        announce(addresses)
        await stop.wait()
    return EXIT_OK


def arguments(
    options: TonOptions,
    directory: Path,
    port: int,
    admin_port: int,
    block_interval: timedelta | None,
) -> list[str]:
    """Return the command line that `parsed` reads back."""
    interval = block_interval or options.block_interval
    chain = options.chain
    line = {
        "--directory": directory,
        "--host": options.host,
        "--port": port,
        "--admin-port": admin_port,
        "--block-interval": "none" if interval is None else interval.total_seconds(),
        "--seed": chain.seed,
        "--transactions-per-block-max": chain.transactions_per_block_max,
        "--state-window": chain.state_window,
        "--user-wallets": chain.user_wallets,
        "--advertised-host": options.advertised_host,
        "--emulator-library": chain.emulator_library,
    }
    return [f"{name}={value}" for name, value in line.items() if value is not None]


def parsed(line: Sequence[str]) -> tuple[TonOptions, int | None]:
    """Read a command line; return the options, and the port of the HTTP endpoints.

    Raises:
        SystemExit: with code 2 and a message on stderr.
        UsageError: an option is refused.
    """
    defaults = TonOptions()
    parser = argparse.ArgumentParser(
        "python -m sandbox.ton", description="Run a local TON network."
    )
    parser.add_argument("--directory", type=Path, required=True, help="for the global config")
    parser.add_argument("--host", default=defaults.host, help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, help="of the lite server; a free one unless given")
    parser.add_argument(
        "--admin-port", type=int, help="of the HTTP endpoints; a free one unless given"
    )
    parser.add_argument(
        "--advertised-host", help="name or address in the global config; the bound one unless given"
    )
    parser.add_argument(
        "--block-interval",
        type=_interval,
        default=defaults.block_interval,
        help="seconds, or none: on demand",
    )
    parser.add_argument(
        "--seed", default=defaults.chain.seed, help="keys and addresses come from it (%(default)s)"
    )
    parser.add_argument(
        "--transactions-per-block-max", type=int, default=defaults.chain.transactions_per_block_max
    )
    parser.add_argument(
        "--state-window",
        type=int,
        default=defaults.chain.state_window,
        help="blocks with readable states",
    )
    parser.add_argument(
        "--user-wallets",
        type=int,
        default=defaults.chain.user_wallets,
        help="users with money at the start",
    )
    parser.add_argument("--emulator-library", type=Path, help="a libemulator of your own")
    given = parser.parse_args(line)
    chain = ChainOptions(
        seed=given.seed,
        transactions_per_block_max=given.transactions_per_block_max,
        state_window=given.state_window,
        user_wallets=given.user_wallets,
        emulator_library=given.emulator_library,
    )
    options = replace(
        defaults,
        chain=chain,
        block_interval=given.block_interval,
        host=given.host,
        port=given.port,
        advertised_host=given.advertised_host,
        directory=given.directory,
    )
    return options, given.admin_port


def _interval(text: str) -> timedelta | None:
    if text == "none":
        return None
    try:
        return timedelta(seconds=float(text))
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--block-interval={text}: a number of seconds, or none, is wanted."
        ) from error

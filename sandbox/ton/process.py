"""The network as a process of its own, for those who must not share their event loop with it.

The demo, `laurel dev`, tests.

    with ton_network(directory) as network:
        await network.fund("0:...", 10**9)

The process is gone when its owner is gone, also after kill -9 (sandbox/process.py).
"""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from ops.errors import UsageError
from sandbox.ports import reachable, reserved
from sandbox.process import START_BOUND, PartFailed, running
from sandbox.ton.admin import Status
from sandbox.ton.emulator import find_library
from sandbox.ton.network import CONFIG_NAME, TonOptions
from sandbox.ton.runner import READY_NAME, arguments

# Ends a question that hangs: a block full of transactions takes a slow machine long.
_ADMIN_BOUND_SECONDS = 300
LOG_NAME = "ton.log"


class AdminFailed(PartFailed):
    """The network did not do what it was asked by HTTP."""

    code = "ton_admin_failed"


@dataclass(frozen=True, slots=True)
class TonProcess:
    """A running network process; made by `ton_network`.

    Every method answers with the network's state afterwards.
    """

    config_path: Path
    admin_url: str
    pid: int
    log_path: Path

    @property
    def config(self) -> dict[str, Any]:
        """Return the global config."""
        config: dict[str, Any] = json.loads(self.config_path.read_text(encoding="utf-8"))
        return config

    async def status(self) -> Status:
        """Return where the network stands."""
        return await self._asked("GET", "/status")

    async def fund(self, address: str, amount_nano: int) -> Status:
        """Pay from the faucet; return once the money has arrived.

        Args:
            address: of workchain 0, raw or user-friendly.
            amount_nano: what arrives.

        Raises:
            UsageError: no address, or no amount.
            AdminFailed: the faucet is empty, or the process is gone.
        """
        return await self._asked(
            "POST", "/fund", {"address": str(address), "amount_nano": amount_nano}
        )

    async def advance(self, by: timedelta) -> Status:
        """Move the network's clock ahead; return after a block with the new time."""
        return await self._asked("POST", "/advance-clock", {"seconds": by.total_seconds()})

    async def produce(self) -> Status:
        """Make a block now."""
        return await self._asked("POST", "/produce")

    async def _asked(self, method: str, path: str, body: dict[str, object] | None = None) -> Status:
        async with self._answer(method, path, body) as response:
            answer = await response.json()
            if response.status == 200:
                return Status(**answer)
        message = f"{self.admin_url}{path}: {answer['message']}"
        raise UsageError(message) if response.status == 400 else AdminFailed(message)

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: dict[str, object] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=_ADMIN_BOUND_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, self.admin_url + path, json=body) as response,
            ):
                yield response
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            raise AdminFailed(
                f"{self.admin_url}{path}: {str(error) or 'no answer in time'}. See {self.log_path}."
            ) from error


@contextmanager
def ton_network(
    directory: Path,
    *,
    block_interval: timedelta | None = None,
    port: int | None = None,
    admin_port: int | None = None,
    options: TonOptions | None = None,
) -> Iterator[TonProcess]:
    """Run a network process while the block runs.

    Args:
        directory: for the global config and the log; made if missing.
        block_interval: overrides that of `options`.
        port: of the lite server, overrides that of `options`; a free one unless given anywhere.
        admin_port: of the HTTP endpoints; a free one unless given.
        options: everything else; the defaults unless given. Its `directory` is ignored.

    Raises:
        PartMissing: there is no virtual machine for this platform.
        PartFailed: the process ended at its start.
        UsageError: an address is taken, or an option is refused.
    """
    options = options or TonOptions()
    find_library(options.chain.emulator_library)
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    ready = directory / READY_NAME
    ready.unlink(missing_ok=True)
    with ExitStack() as stack:
        lite = stack.enter_context(reserved(options.host, port or options.port))
        admin = stack.enter_context(reserved(options.host, admin_port))
        command = [
            sys.executable,
            "-m",
            "sandbox.ton",
            *arguments(options, directory, lite, admin, block_interval),
        ]
        child = stack.enter_context(
            running(
                "TON network", command, log_path=directory / LOG_NAME, cwd=Path(__file__).parents[2]
            )
        )
        child.wait_until_ready(ready.exists, START_BOUND)
        yield TonProcess(
            config_path=directory / CONFIG_NAME,
            admin_url=f"http://{reachable(options.host)}:{admin}",
            pid=child.pid,
            log_path=child.log_path,
        )

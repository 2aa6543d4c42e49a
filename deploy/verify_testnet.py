"""Mint a token on TON's testnet, read it from the chain, revoke it: `make verify-testnet`.

For a person who has a wallet with money there. What the tests prove on the local network is tried
on one that nobody here controls, by Laurel's own commands and minter, as an operator runs them. The
database is a PostgreSQL of the sandbox and is kept, since a wallet belongs to one database; where
it was used before, minting opens after some six minutes (docs/runbook.md, Restoring a backup). Any
other network is refused before anything is sent.

    laurel wallet new wallet.words    # two test Grams, from a faucet of the testnet's, are enough
    make verify-testnet WORDS=wallet.words CONFIG=testnet-global.config.json METADATA=https://...
"""

import argparse
import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from demo.chain import ChainUnreadable, Token, reading  # noqa: E402
from minter.ton.global_config import read_config, zero_state_hash  # noqa: E402
from ops.errors import LaurelError, Permanent, UsageError  # noqa: E402
from ops.throwaway import throwaway  # noqa: E402
from sandbox.postgres import postgres  # noqa: E402
from sandbox.process import running  # noqa: E402

# The zero state of the testnet, as https://ton.org/testnet-global.config.json has it (2026-11-27).
# Every proof that tonlib accepts leads back to it, so no other network can pass for this one.
TESTNET = base64.b64decode("gj+B8wb/AmlPk1z1AhVI484rhrUpgSr2oSFIh56VoSg=")
# Nobody has its key: a token there is seen by all, and held by none.
NOBODY = f"0:{sha256(b'laurel verify-testnet').hexdigest()}"
BADGE = "explorer"
# Longer than a signed message lives (LAUREL_MINTER__MESSAGE_TTL), and so a second attempt takes.
PATIENCE = timedelta(minutes=15)
EVERY_S = 2.0


class NotVerified(Permanent):
    """Something is not as it must be; the message says what."""

    code = "not_verified"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person gives: a wallet, a network, the metadata's address, who gets the token."""

    words: Path
    config: Path
    metadata: str
    owner: str
    directory: Path


class Verification:
    """One run; `run` does all of it."""

    def __init__(self, wanted: Wanted, database_url: str) -> None:
        self._wanted = wanted
        self._started = time.monotonic()
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("LAUREL_")
        } | {
            "LAUREL_DATABASE_URL": database_url,
            "LAUREL_TON_CONFIG": str(wanted.config),
            "LAUREL_TON_STATE_DIR": str(wanted.directory / "ton-state"),
            "LAUREL_WALLET_MNEMONIC_FILE": str(wanted.words),
            "LAUREL_METADATA_BASE_URL": wanted.metadata,
            "LAUREL_HTTP__PORT": "0",
            # Money of a testnet is hard to come by.
            "LAUREL_MINTER__BALANCE_RESERVE": "0.1",
        }

    async def run(self) -> None:
        """Mint, read, revoke.

        Raises:
            UsageError: the wallet has too little money, or a setting is refused.
            NotVerified: something is not as it must be.
        """
        wallet = json.loads(await self._laurel("wallet", "show", "--json"))
        if not wallet.get("mints"):
            raise UsageError(await self._laurel("wallet", "show"))
        await self._laurel("db", "upgrade")
        await self._laurel("catalog", "apply")
        user = str(uuid4())
        self._say(f"{user} links the wallet {self._wanted.owner}")
        await self._linked(user)
        with running(
            "minter",
            laurel("minter"),
            log_path=self._wanted.directory / "minter.log",
            env=self._environment,
            cwd=ROOT,
        ):
            await self._laurel("badge", "award", user, BADGE, "--level", "2")
            address = await self._until(lambda: self._token_id(user), "the token is minted")
            self._say(f"minted {address}")
            token = await self._until(lambda: self._on_chain(address), "a lite server shows it")
            self._compare(token, str(wallet["address"]))
            await self._until(self._nothing_found, "reconcile finds nothing")
            await self._laurel("badge", "revoke", user, BADGE, "--reason", "it was a trial")
            await self._until(lambda: self._revoked(address), "the token is revoked")
            await self._until(self._nothing_found, "reconcile finds nothing afterwards")

    async def _linked(self, user: str) -> None:
        event = {
            "specversion": "1.0",
            "id": str(uuid4()),
            "source": "/verify-testnet",
            "type": "wallet.linked",
            "subject": user,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "data": {"address": self._wanted.owner},
        }
        await self._laurel("backfill", "-", given=json.dumps(event))

    async def _token_id(self, user: str) -> str | None:
        (badge,) = json.loads(await self._laurel("explain", user, BADGE, "--json"))["badges"]
        return badge["token_id"] if badge["onchain_status"] == "minted" else None

    async def _on_chain(self, address: str) -> Token | None:
        """Return the token by its own getters, from the first lite server that answers."""
        config: dict[str, Any] = dict(read_config(self._wanted.config))
        servers = config["liteservers"]
        with throwaway("verify") as keystore:
            for server in servers:
                try:
                    async with (
                        asyncio.timeout(60),
                        reading(config | {"liteservers": [server]}, keystore) as chain,
                    ):
                        return await chain.token(address)
                except (ChainUnreadable, OSError, RuntimeError, TimeoutError):
                    continue
        return None

    def _compare(self, token: Token, wallet: str) -> None:
        if (token.owner, token.authority, token.revoked) != (self._wanted.owner, wallet, False):
            raise NotVerified(f"The chain has another token than was asked for: {token}")
        self._say(f"read it: owner, authority and content {token.content}")

    async def _revoked(self, address: str) -> bool:
        token = await self._on_chain(address)
        return token is not None and token.revoked

    async def _nothing_found(self) -> bool:
        try:
            await self._laurel("reconcile", "--json")
        except NotVerified:
            return False
        return True

    async def _until(self, ask: Callable[[], Awaitable[Any]], word: str) -> Any:  # noqa: ANN401 - what `ask` returns
        self._say(f"waiting until {word}")
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while not (found := await ask()):
            if time.monotonic() > deadline:
                raise NotVerified(
                    f"Not reached in {PATIENCE}: {word}. See {self._wanted.directory}."
                )
            await asyncio.sleep(EVERY_S)
        return found

    async def _laurel(self, *words: str, given: str = "") -> str:
        """Run `laurel *words` with `given` on its standard input; return what it printed."""
        found = await asyncio.to_thread(
            subprocess.run,
            laurel(*words),
            env=self._environment,
            cwd=ROOT,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode == 2:
            raise UsageError(found.stderr.strip())
        if found.returncode:
            raise NotVerified(f"laurel {' '.join(words)}: {found.stderr.strip()}{found.stdout}")
        return found.stdout

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:7.1f} s  {text}", flush=True)


def laurel(*words: str) -> list[str]:
    """Return the command `laurel *words` of this checkout."""
    return [sys.executable, str(ROOT / "cli.py"), *words]


def verify(wanted: Wanted, network: bytes = TESTNET) -> None:
    """Mint, read and revoke one token on `network`.

    Raises:
        UsageError: the global config is another network's, or something of `wanted` is refused.
        NotVerified: something is not as it must be.
    """
    found = zero_state_hash(read_config(wanted.config))
    if found != network:
        raise UsageError(
            f"{wanted.config} is no config of TON's testnet: its zero state is {found.hex()}. "
            "Take https://ton.org/testnet-global.config.json; nothing was sent."
        )
    wanted.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    with postgres(wanted.directory / "postgresql", keep=True) as server:
        asyncio.run(Verification(wanted, server.url).run())


def main(arguments: list[str]) -> int:
    """Read the command line, verify, print one verdict."""
    parser = argparse.ArgumentParser(description="Mint, read and revoke a token on TON's testnet.")
    parser.add_argument("--words", type=Path, required=True, help="the 24 words of a wallet there")
    parser.add_argument("--config", type=Path, required=True, help="the testnet's global config")
    parser.add_argument(
        "--metadata", required=True, help="LAUREL_METADATA_BASE_URL: it stays on chain"
    )
    parser.add_argument("--owner", default=NOBODY, help="who gets the token (raw address)")
    parser.add_argument("--directory", type=Path, default=Path(".laurel/testnet"))
    given = parser.parse_args(arguments)
    try:
        verify(
            Wanted(
                given.words.absolute(),
                given.config.absolute(),
                given.metadata,
                given.owner,
                given.directory.absolute(),
            )
        )
    except LaurelError as error:
        print(f"NOT VERIFIED: {error.message}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print("VERIFIED: one token was minted on the testnet, read from it, and revoked.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

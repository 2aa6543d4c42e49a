"""`laurel sandbox`: the embedded parts alone. For now the one that other TON clients may want too.

The local network.
"""

import json
import math
import re
import urllib.error
import urllib.request
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.console import Console, json_option
from ops.errors import Transient, UsageError

if TYPE_CHECKING:
    from ops.lifecycle import Stop

NANO = 1_000_000_000
ADMIN_PORT = 20480
_FAUCET = re.compile(r"http://[^\s/?#@]+/?")


class _Finite(click.FloatRange):
    """A number within bounds; "nan" is within any of click's."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


@click.group()
def sandbox() -> None:
    """Run one of the embedded parts alone."""


@sandbox.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".laurel/ton"),
    show_default=True,
    help="Where global.config.json is written; point LAUREL_TON_CONFIG at it.",
)
@click.option("--listen", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Port of the lite server; a free one unless given.",
)
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65_535),
    default=ADMIN_PORT,
    show_default=True,
    help="Port of the faucet (HTTP).",
)
@click.option(
    "--advertise", help="Host that the global config names; by default the one listened on."
)
@click.option(
    "--block-interval",
    type=_Finite(min=0.01, max=86_400),
    default=0.4,
    show_default=True,
    help="Seconds from block to block.",
)
@click.option(
    "--seed",
    default="laurel",
    show_default=True,
    help="Keys and addresses come from it: the same seed is the same network.",
)
@json_option
@click.pass_obj
def ton(
    console: Console,
    *,
    directory: Path,
    listen: str,
    port: int | None,
    admin_port: int,
    advertise: str | None,
    block_interval: float,
    seed: str,
    as_json: bool,
) -> None:
    """Run the local TON network until Ctrl-C, for Laurel or any other TON client.

    A lite server with proofs over the real TON virtual machine; nothing is kept when it ends.

    Example: laurel sandbox ton --directory /tmp/ton
    """
    from sandbox.ton.chain import ChainOptions
    from sandbox.ton.network import CONFIG_NAME, TonOptions
    from sandbox.ton.runner import Addresses, serve

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--directory: {directory} cannot be made: {error.strerror}.") from None
    # The file of an earlier network would send a waiting minter to the wrong one.
    (directory / CONFIG_NAME).unlink(missing_ok=True)
    options = TonOptions(
        chain=ChainOptions(seed=seed),
        block_interval=timedelta(seconds=block_interval),
        host=listen,
        port=port,
        advertised_host=advertise,
        directory=directory.resolve(),
    )

    def announce(addresses: Addresses) -> None:
        found = {"config": addresses.config_path, "faucet": addresses.admin_url}
        console.result(
            found,
            "TON network up.\n"
            f"  global config  {addresses.config_path}\n"
            f"  faucet         {addresses.admin_url}\n"
            f"  money          laurel sandbox fund ADDRESS --faucet {addresses.admin_url}",
            as_json=as_json,
        )

    async def main(stop: "Stop") -> int:
        return await serve(options, stop, admin_port=admin_port, announce=announce)

    console.run(main)


@sandbox.command()
@click.argument("address")
@click.option(
    "--gram",
    "amount",
    type=_Finite(min=0, max=1_000_000_000, min_open=True),
    default=100.0,
    show_default=True,
    help="How much, in GRAM, the coin of the TON network.",
)
@click.option(
    "--faucet",
    default=f"http://127.0.0.1:{ADMIN_PORT}",
    show_default=True,
    help="Where `laurel sandbox ton` has its faucet.",
)
@json_option
@click.pass_obj
def fund(console: Console, *, address: str, amount: float, faucet: str, as_json: bool) -> None:
    """Give ADDRESS money on the local TON network.

    Example: laurel sandbox fund "$(laurel wallet show --json | jq -r .address)"
    """
    nano = round(amount * NANO)
    if not _FAUCET.fullmatch(faucet):
        raise UsageError(
            f"--faucet {faucet}: it should read http://host:port, "
            "as `laurel sandbox ton` prints it."
        )
    no_faucet = f"No faucet answers at {faucet} (%s). Start one with `laurel sandbox ton`."
    request = urllib.request.Request(  # noqa: S310 - checked above
        f"{faucet.rstrip('/')}/fund",
        json.dumps({"address": address, "amount_nano": nano}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            status = json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            refused = json.load(error)["message"]
        except (ValueError, TypeError, KeyError):
            raise UsageError(no_faucet % f"somebody else does: {error}") from None
        raise (UsageError if error.code == 400 else Transient)(
            f"the faucet refused: {refused}"
        ) from None
    except urllib.error.URLError as error:
        raise UsageError(no_faucet % error.reason) from None
    except (OSError, HTTPException, ValueError) as error:  # a host that is none, no HTTP, no JSON
        raise UsageError(no_faucet % error) from None
    console.result(
        {"address": address, "amount_nano": nano} | status,
        f"{address} has {amount:g} GRAM more.",
        as_json=as_json,
    )

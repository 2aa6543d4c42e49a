"""`laurel minter`, `laurel reconcile` and `laurel wallet`."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.console import Console, json_option
from ops.errors import Transient

if TYPE_CHECKING:
    from ops.lifecycle import Stop
    from ops.settings import Settings

_SHOW_PATIENCE_S = 5.0


@click.command()
@click.pass_obj
def minter(console: Console) -> None:
    """Work off the mint queue on TON.

    Needs LAUREL_DATABASE_URL, LAUREL_TON_CONFIG and LAUREL_WALLET_MNEMONIC_FILE. Several may run
    side by side.

    Example: LAUREL_WALLET_MNEMONIC_FILE=wallet.words laurel minter
    """

    async def main(stop: "Stop") -> int:
        from minter.daemon import Daemon
        from minter.startup import minter_context, unless_stopped
        from ops.http import serving
        from ops.lifecycle import EXIT_OK, Readiness
        from ops.watchdog import Watchdog

        readiness = Readiness()
        async with serving(console.settings.http, readiness), AsyncExitStack() as stack:
            opening = stack.enter_async_context(minter_context(console.settings, readiness))
            ctx = await unless_stopped(stop, opening)
            if ctx is not None:
                with Watchdog(console.settings.lifecycle.stall_after, readiness) as watchdog:
                    await Daemon(ctx, readiness, stop, watchdog).run()
        return EXIT_OK

    console.run(main)


@click.command()
@click.option("--repair", is_flag=True, help="Write the chain's word back into the database.")
@click.option(
    "--accept-unknown",
    is_flag=True,
    help="With --repair: let tokens stand whose badge nobody knows and no event will bring.",
)
@json_option
@click.pass_obj
def reconcile(console: Console, *, repair: bool, accept_unknown: bool, as_json: bool) -> None:
    """Compare the chain with the database, and repair the database.

    Reads every token at one masterchain block. With --repair it adopts unknown tokens that name a
    badge, restores lost ids, marks badges whose owner destroyed the token, and continues a
    collection's count where the chain stands; the rest is for a person. Minting that is shut (a
    restored database, a failover) opens again by it, or by a running minter as soon as it may.
    Exits 1 when something differed, repaired or not, or minting is shut, and 0 otherwise.

    Example: laurel reconcile --repair
    """
    if accept_unknown and not repair:
        raise click.UsageError("--accept-unknown is a part of --repair.")

    async def main() -> int:
        from minter import reconcile
        from minter.startup import connect
        from ops.lifecycle import EXIT_FAILURE, EXIT_OK

        settings = console.settings
        base_url = settings.metadata_base_url
        terms = reconcile.Terms(settings.minter.expiry_margin, base_url, accept_unknown)
        async with connect(settings) as (db, gateway):
            report = await reconcile.reconcile(db, gateway, repair=repair, terms=terms)
        console.result(report.document(), report.text(), as_json=as_json)
        return EXIT_FAILURE if report.findings or report.shut else EXIT_OK

    console.run_once(main)


@click.group()
def wallet() -> None:
    """Show the minting wallet."""


@wallet.command()
@json_option
@click.pass_obj
def show(console: Console, *, as_json: bool) -> None:
    """Print the wallet's address.

    Balance and network too, where LAUREL_TON_CONFIG names one that answers.

    Example: LAUREL_WALLET_MNEMONIC_FILE=wallet.words laurel wallet show --json
    """

    async def main() -> int:
        from minter.startup import minting_wallet

        settings = console.settings
        _, mine = minting_wallet(settings)
        document: dict[str, object] = {"address": mine.address, "public_key": mine.public_key.hex()}
        lines = [f"address   {mine.address}"]
        if settings.ton_config is not None:
            document |= await _on_network(settings, mine.address)
            lines.append(f"network   {document['network']}")
            if "error" in document:
                lines.append(f"balance   unknown: {document['error']}")
            else:
                lines.append(
                    f"balance   {document['balance_nano']} nanograms at block {document['seqno']}"
                )
                lines.append(f"deployed  {'yes' if document['deployed'] else 'no'}")
        console.result(document, "\n".join(lines), as_json=as_json)
        return 0

    console.run_once(main)


@wallet.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@click.pass_obj
def new(console: Console, file: Path, *, as_json: bool) -> None:
    """Write the 24 words of a new wallet to FILE, readable by its owner alone.

    A file that exists is never overwritten.

    Keep a copy where no disk can lose it: the words are the only way to the wallet's money and to
    revoking badges.

    Example: laurel wallet new wallet.words
    """
    from minter.ton import highload_wallet, mnemonic

    made = highload_wallet.wallet(
        mnemonic.write_new(file).public_key, console.settings.minter.message_ttl
    )
    text = f"{file}: the words of a new wallet. Keep a copy.\naddress   {made.address}"
    console.result({"file": str(file), "address": made.address}, text, as_json=as_json)


async def _on_network(settings: "Settings", address: str) -> dict[str, object]:
    from minter.ton.global_config import read_config
    from minter.ton.liteserver import LiteServers
    from store.values import RawAddress

    config = read_config(Path(settings.need("ton_config")))
    async with LiteServers(
        config, servers=settings.minter.lite_servers, state_dir=settings.ton_state_dir
    ) as gateway:
        document: dict[str, object] = {"network": gateway.zero_state_hash.hex()}
        try:
            async with asyncio.timeout(_SHOW_PATIENCE_S):
                block = await gateway.newest_block()
                account = await gateway.account(RawAddress(address), block)
        except (Transient, TimeoutError) as error:
            return document | {"error": str(error) or "no lite server answered in time"}
    return document | {
        "seqno": block.seqno,
        "balance_nano": account.balance_nano,
        "deployed": account.data is not None,
    }

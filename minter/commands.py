"""`laurel minter`, `laurel reconcile` and `laurel wallet`."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.console import Console, json_option

if TYPE_CHECKING:
    from ops.lifecycle import Stop


@click.command()
@click.pass_obj
def minter(console: Console) -> None:
    """Work off the mint queue on TON.

    Needs LAUREL_DATABASE_URL, LAUREL_TON_CONFIG and LAUREL_WALLET_MNEMONIC_FILE. Several may run
    side by side.

    Example: LAUREL_WALLET_MNEMONIC_FILE=wallet.words laurel minter
    """
    console.role = "minter"

    async def main(stop: "Stop") -> int:
        from minter import first_series
        from minter.daemon import Daemon
        from minter.startup import minter_context, unless_stopped
        from ops.http import serving
        from ops.lifecycle import EXIT_OK, Readiness
        from ops.metric_roles import Role
        from ops.watchdog import Watchdog

        console.settings.require("database_url", "ton_config", "wallet_mnemonic_file")
        readiness = Readiness()
        first_series.show()
        async with (
            serving(console.settings.http, readiness, Role.MINTER),
            AsyncExitStack() as stack,
        ):
            with Watchdog(console.settings.lifecycle.stall_after, readiness) as watchdog:
                with watchdog.work("the minter's start"):
                    opening = stack.enter_async_context(minter_context(console.settings, readiness))
                    ctx = await unless_stopped(stop, opening)
                if ctx is not None:
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
@click.option(
    "--revoke-second",
    is_flag=True,
    help="With --repair: revoke, for good, each token that a badge has beside its own.",
)
@json_option
@click.pass_obj
def reconcile(
    console: Console, *, repair: bool, accept_unknown: bool, revoke_second: bool, as_json: bool
) -> None:
    """Compare the chain with the database, and repair the database.

    Reads every token at one masterchain block. With --repair it adopts unknown tokens that name a
    badge, restores lost ids, marks badges whose owner destroyed the token, has the standing token
    of a revoked badge revoked, and continues a collection's count where the chain stands; the rest
    is for a person. A second token of a badge is revoked with --revoke-second. Minting that is shut
    (a restored database, a failover) opens again by it, or by a running minter as soon as it may.
    It needs the minter's LAUREL_METADATA_BASE_URL, to find collections that a restored database
    lacks.
    Exits 1 when something differed, repaired or not, or minting is shut, and 0 otherwise.

    Example: laurel reconcile --repair
    """
    console.role = "reconcile"
    if accept_unknown and not repair:
        raise click.UsageError("--accept-unknown is a part of --repair.")
    if revoke_second and not repair:
        raise click.UsageError("--revoke-second is a part of --repair.")

    async def main() -> int:
        from minter import reconcile
        from minter.startup import connect, metadata_base
        from minter.ton.global_config import read_config
        from ops import metrics
        from ops.lifecycle import EXIT_FAILURE, EXIT_OK
        from ops.metric_roles import recall

        settings = console.settings
        if settings.metrics_textfile is not None:
            recalled = (metrics.RECONCILE_FINDINGS, metrics.RECONCILE_LAST_SUCCESS)
            recall(settings.metrics_textfile, *recalled)
        settings.require("database_url", "ton_config")
        base_url = None
        if repair:
            # Where the collections lie that a restored database does not know.
            base_url = metadata_base(settings, read_config(Path(settings.need("ton_config"))))
        margin = settings.minter.expiry_margin
        terms = reconcile.Terms(margin, base_url, accept_unknown, revoke_second)
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
    """Print the wallet's address, its balance, and for how many mints that is enough.

    Needs LAUREL_WALLET_MNEMONIC_FILE and LAUREL_TON_CONFIG: the address follows from the words and
    the network. Pay to the first address that is shown: as long as nothing was sent from it, the
    wallet has no contract yet, and the form that begins with UQ keeps a payment from coming back.
    Exits 1 where the network does not answer.

    Example: LAUREL_WALLET_MNEMONIC_FILE=wallet.words laurel wallet show --json
    """

    async def main() -> int:
        from minter.startup import minting_wallet
        from minter.wallet_report import report
        from ops.lifecycle import EXIT_FAILURE, EXIT_OK

        _, mine = minting_wallet(console.settings)
        shown = await report(console.settings, mine)
        console.result(shown.document(), shown.text(), as_json=as_json)
        return EXIT_FAILURE if shown.error else EXIT_OK

    console.run_once(main)


@wallet.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@click.pass_obj
def new(console: Console, file: Path, *, as_json: bool) -> None:
    """Write the 24 words of a new wallet to FILE, readable by its owner alone.

    A file that exists is never overwritten. The address depends on the network as well: `laurel
    wallet show` prints it.

    Keep a copy where no disk can lose it: the words are the only way to the wallet's money and to
    revoking badges.

    Example: laurel wallet new wallet.words
    """
    from minter.ton import mnemonic

    made = mnemonic.write_new(file)
    text = (
        f"{file}: the words of a new wallet. Keep a copy.\n"
        f"Its address: LAUREL_WALLET_MNEMONIC_FILE={file} laurel wallet show"
    )
    document = {"file": str(file), "public_key": made.public_key.hex()}
    console.result(document, text, as_json=as_json)

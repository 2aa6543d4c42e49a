"""Every transaction of the minter locks rows in the order of docs/architecture.md.

The order is read from the statements as they reach PostgreSQL, over everything that a minter does.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from minter.reconcile import reconcile
from ops.settings import Settings
from store.values import TaskOperation
from tests.builders.world import World, all_in, eventually, has_task, minting

ORDER = (
    "chain_collection",
    "chain_message",
    "nft_instance",
    "nft_mint_queue",
    "outbox_sequence",
    "chain_wallet",
)
_LOCKS = re.compile(
    r"(?<!DO )(?<!FOR )\bUPDATE (?P<updated>\w+)"
    r"|\bFOR UPDATE OF (?P<of>\w+)"
    r"|\bFROM (?P<source>\w+)(?:(?!\bFROM\b).)*?\bFOR UPDATE\b(?! OF)"
    r"|\bINSERT INTO (?P<counted>outbox_sequence)",
    re.DOTALL,
)


def locked(statement: str) -> list[str]:
    """Return the tables whose rows a statement locks, in the order of its text."""
    aliases = {alias: table for table, alias in re.findall(r"(\w+) AS (\w+)", statement)}
    found = []
    for match in _LOCKS.finditer(statement):
        name = next(each for each in match.groups() if each is not None)
        found.append(aliases.get(name, name))
    return [table for table in found if table in ORDER]


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("UPDATE chain_wallet SET a = 1", ["chain_wallet"]),
        ("SELECT 1 FROM chain_message WHERE id = 1 FOR UPDATE", ["chain_message"]),
        (
            "SELECT 1 FROM nft_instance AS i JOIN nft_type AS t ON true FOR UPDATE OF i",
            ["nft_instance"],
        ),
        (
            (
                "WITH a AS (SELECT 1 FROM nft_mint_queue AS t FOR UPDATE OF t SKIP LOCKED) "
                "UPDATE nft_instance AS i SET b = 1 FROM a"
            ),
            ["nft_mint_queue", "nft_instance"],
        ),
        (
            "INSERT INTO outbox_sequence AS s VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2",
            ["outbox_sequence"],
        ),
        ("SELECT * FROM chain_wallet", []),
    ],
)
def test_locks_are_read_from_a_statement(statement: str, tables: list[str]) -> None:
    assert locked(statement) == tables


@pytest.fixture
def transactions() -> Iterator[list[list[str]]]:
    """For each transaction the tables that it locked, each where it was locked first."""
    found: list[list[str]] = []
    open_ones: dict[Connection, list[str]] = {}

    def begin(conn: Connection) -> None:
        open_ones[conn] = []
        found.append(open_ones[conn])

    def execute(conn: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        mine = open_ones.setdefault(conn, [])
        mine.extend(table for table in locked(statement) if table not in mine)

    listeners: dict[str, Callable[..., None]] = {"begin": begin, "before_cursor_execute": execute}
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    yield found
    for name, listener in listeners.items():
        event.remove(Engine, name, listener)


async def test_the_minter_locks_in_one_order(
    world: World, settings: Settings, transactions: list[list[str]]
) -> None:
    badges = await world.to_mint(3)
    (walletless,) = await world.badges(wallets=False)
    await world.enqueue([walletless])
    async with minting(settings) as ctx:
        await all_in(world, badges, "active/minted")
        await world.enqueue([badges[0]], TaskOperation.BURN)
        await eventually(
            world, lambda: has_task(world, badges[0], "burn confirmed"), "the token is burned"
        )
        await world.link([walletless])
        await all_in(world, [walletless], "active/minted")
        await world.sql(
            "UPDATE nft_instance SET onchain_token_id = NULL WHERE id = :id", id=badges[1].id
        )
        report = await reconcile(world.db, ctx.gateway, repair=True)
    assert report.repaired == 1
    wrong = [each for each in transactions if each != sorted(each, key=ORDER.index)]
    assert wrong == []
    pairs = {pair for each in transactions for pair in pairwise(each)}
    assert pairs >= {
        ("chain_collection", "nft_mint_queue"),  # signing
        ("nft_mint_queue", "chain_wallet"),
        ("chain_collection", "chain_message"),  # a deployment was seen
        ("chain_message", "nft_instance"),  # settling
        ("nft_instance", "nft_mint_queue"),
        ("nft_mint_queue", "outbox_sequence"),
        ("outbox_sequence", "chain_wallet"),
    }

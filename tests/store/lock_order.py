"""A witness of the order in which transactions lock tables, for the tests that write.

`recorded` watches every transaction of every engine and asks PostgreSQL after each statement which
tables are locked by it; `contradictions` holds that against docs/architecture.md. It looks at
tables, not rows: the first lock counts, and several first locks of one statement have no order.

A plain INSERT is no lock here: nobody can wait for a row that nobody sees. One with ON CONFLICT is,
because another transaction with the same key waits for it.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

# docs/architecture.md, lock order.
ORDER = (
    "catalog_version",
    "rebuild",
    "catalog_job",
    "counter_fill",
    "dedupe_floor",
    "history_job",
    "offset_ledger",
    "paused_partition",
    "processed_event",
    "waiting_command",
    "command_log",
    "user_wallet",
    "progress_member",
    "nft_progress",
    "chain_collection",
    "chain_message",
    "nft_instance",
    "silenced_badge",
    "nft_mint_queue",
    "outbox_sequence",
    "chain_wallet",
)
# Written by `catalog apply`, which keeps batches out by catalog_version; what others take of them
# are the shared locks of foreign keys, and a batch marks counters that have counted, by id, next to
# last of all.
OF_THE_CATALOG = frozenset({"counter_definition", "nft_level_rule", "nft_type"})
# Whoever touches it holds the row of rebuild.
OF_A_REBUILD = frozenset({"rebuild_event"})
# Whoever touches these holds the row of counter_fill.
OF_A_FILL = frozenset({"fill_event", "fill_member", "fill_progress"})
# Rows of these are only ever added, or given a number that comes from a locked outbox_sequence.
APPENDED = frozenset(
    {
        "collection_decision",
        "dead_letter",
        "mint_task_event",
        "nft_audit_log",
        "outbox_message",
        "partition_decision",
    }
)

_NAME = "lock_order"
# A foreign key's check takes KEY SHARE, which an UPDATE of the row does not wait for, and nobody
# locks the wallet's row otherwise than by UPDATE: of that table only the writers' mode counts.
_HELD = """
    SELECT DISTINCT class.relname
      FROM pg_locks AS held JOIN pg_class AS class ON class.oid = held.relation
     WHERE held.pid = pg_backend_pid() AND held.mode <> 'AccessShareLock'
       AND (class.relname <> 'chain_wallet' OR held.mode <> 'RowShareLock')
       AND class.relkind = 'r' AND class.relpersistence = 'p'
       AND class.relnamespace = CAST('public' AS regnamespace)
"""


@dataclass(frozen=True, slots=True)
class Step:
    """The tables that a statement was the first of its transaction to lock."""

    tables: frozenset[str]
    statement: str


@dataclass(slots=True)
class Transaction:
    """What one transaction locked, in its order; `added`: tables where it only added rows."""

    steps: list[Step] = field(default_factory=list)
    added: set[str] = field(default_factory=set)

    @property
    def locked(self) -> frozenset[str]:
        """Return all tables locked so far."""
        return frozenset().union(*(step.tables for step in self.steps))

    def saw(self, statement: str, held: frozenset[str]) -> None:
        """Take in that `held` are locked after `statement`."""
        self.added = (self.added | _inserted(statement)) - _written(statement)
        new = held - self.locked - self.added
        if new:
            self.steps.append(Step(new, statement))


def _inserted(statement: str) -> set[str]:
    found = set(re.findall(r"\bINSERT INTO (\w+)", statement))
    return set() if "ON CONFLICT" in statement else found


def _written(statement: str) -> set[str]:
    writes = set(re.findall(r"\b(?:UPDATE|DELETE FROM) (?!SET\b|OF\b)(\w+)", statement))
    if re.search(r"\bFOR (?:NO KEY )?(?:UPDATE|SHARE)\b", statement):
        writes |= set(re.findall(r"\b(?:FROM|JOIN) (\w+)", statement))
    return writes


# The lists that transactions are recorded in at this moment.
_recordings: list[list[Transaction]] = []


# Listened to for as long as the process lives: a listener yields to other tasks while it asks, and
# SQLAlchemy's list of listeners must not change under those.
@event.listens_for(Engine, "begin")
def _begin(conn: Connection) -> None:
    conn.info.pop(_NAME, None)
    if _recordings:
        conn.info[_NAME] = transaction = Transaction()
        for recording in _recordings:
            recording.append(transaction)


@event.listens_for(Engine, "after_cursor_execute")
def _executed(conn: Connection, _cursor: object, statement: str, *_rest: Any) -> None:
    transaction = conn.info.get(_NAME)
    if transaction is None:
        return
    cursor = conn.connection.cursor()
    cursor.execute(_HELD)
    held = frozenset(name for (name,) in cursor.fetchall())
    cursor.close()
    transaction.saw(statement, held)


@contextmanager
def recorded() -> Iterator[list[Transaction]]:
    """Yield the list that every transaction begun while the block runs is added to."""
    transactions: list[Transaction] = []
    _recordings.append(transactions)
    try:
        yield transactions
    finally:
        _recordings.remove(transactions)


def contradictions(transactions: Sequence[Transaction]) -> list[str]:
    """Return a line for each table that was locked too late, or that has no place in the order."""
    found = []
    for transaction in transactions:
        before: list[str] = []
        for step in transaction.steps:
            words = " ".join(step.statement.split())[:120]
            for table in sorted(step.tables - OF_THE_CATALOG - OF_A_FILL - OF_A_REBUILD - APPENDED):
                if table not in ORDER:
                    found.append(f"{table} has no place in the order: {words}")
                    continue
                earlier = set(ORDER[: ORDER.index(table) + 1])
                if late := sorted(set(before) - earlier):
                    found.append(f"{table} after {', '.join(late)}: {words}")
            before += [table for table in step.tables if table in ORDER]
    return found

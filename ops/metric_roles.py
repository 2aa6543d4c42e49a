"""Which metrics a process shows: those of its role, and no other's.

A worker that shows a wallet's balance of 0 fires the alert about an empty wallet.
"""

from collections.abc import Mapping
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    write_to_textfile,
)
from prometheus_client.parser import text_string_to_metric_families

from ops import errors, metrics

Metric = Counter | Gauge | Histogram


class Role(StrEnum):
    """What a process does."""

    WORKER = "worker"
    MINTER = "minter"
    BACKFILL = "backfill"
    RECONCILE = "reconcile"
    COMMAND = "command"
    """Any other: it ends by itself."""


_COUNTING: tuple[Metric, ...] = (
    metrics.EVENTS,
    metrics.BATCH_SECONDS,
    metrics.BATCH_PHASE_SECONDS,
    metrics.BATCH_RECORDS,
    metrics.DEAD_LETTERS,
    metrics.DEAD_LETTERS_REPEATED,
    metrics.LEVELS,
)
_RECONCILING: tuple[Metric, ...] = (
    metrics.RECONCILE_FINDINGS,
    metrics.RECONCILE_SECONDS,
    metrics.RECONCILE_LAST_SUCCESS,
)
_OF_ALL: tuple[Metric, ...] = (metrics.RETRIES, metrics.ERRORS)
_OF_SERVERS: tuple[Metric, ...] = (metrics.READY, metrics.BUILD_INFO)

OF_ROLE: Mapping[Role, tuple[Metric, ...]] = {
    Role.WORKER: (
        *_COUNTING,
        metrics.EVENT_AGE_SECONDS,
        metrics.EVENT_LAG_SECONDS,
        metrics.CONSUMER_LAG_RECORDS,
        metrics.WITHHELD_RECORDS,
        metrics.PARTITIONS_ASSIGNED,
        metrics.REBALANCES,
        metrics.PARTITIONS_PAUSED,
        metrics.COMMANDS_WAITING,
        metrics.COMMANDS_EXPIRED,
        metrics.LEDGER_EVENTS,
        metrics.CATALOG_VERSION,
        metrics.CATALOG_JOB_USERS,
        metrics.OUTBOX_MESSAGES,
        metrics.OUTBOX_OLDEST_SECONDS,
        metrics.OUTBOX_LAST_PUBLISHED,
        metrics.CLOCK_AHEAD_SECONDS,
        *_OF_ALL,
        *_OF_SERVERS,
    ),
    Role.MINTER: (
        metrics.TASKS,
        metrics.TASK_OLDEST_SECONDS,
        metrics.MINT_STAGE_SECONDS,
        metrics.MINTS,
        metrics.NOT_SIGNED,
        metrics.SENDS,
        *_RECONCILING,
        metrics.MINTING_SHUT,
        metrics.COLLECTIONS_STOPPED,
        metrics.CHAIN_SEQNO,
        metrics.CHAIN_BLOCK_AGE_SECONDS,
        metrics.WALLET_BALANCE_NANOGRAMS,
        metrics.WALLET_SPENT_NANOGRAMS,
        metrics.LITE_SERVER_UP,
        metrics.LITE_SERVER_BLOCKS_BEHIND,
        *_OF_ALL,
        *_OF_SERVERS,
    ),
    Role.BACKFILL: (*_COUNTING, *_OF_ALL),
    Role.RECONCILE: (*_RECONCILING, *_OF_ALL),
    Role.COMMAND: _OF_ALL,
}


def registry_of(role: Role) -> CollectorRegistry:
    """Return what a process of `role` shows: its metrics, and Python's own about the process."""
    metrics.BUILD_INFO.labels(version("laurel"), python_version()).set(1)
    for code in errors.codes():
        metrics.ERRORS.labels(code)
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, *OF_ROLE[role]):
        registry.register(collector)
    return registry


def roles_of(metric: Metric) -> list[Role]:
    """Return the roles that show `metric`."""
    return [role for role, shown in OF_ROLE.items() if metric in shown]


def recall(path: Path, *gauges: Gauge) -> None:
    """Set gauges to what an earlier call wrote to its textfile, where there is one.

    A call that fails must not look like one that found nothing.
    """
    try:
        found = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return
    by_name = {each.name: gauge for gauge in gauges for each in gauge.describe()}
    for family in found:
        if (gauge := by_name.get(family.name)) is None:
            continue
        for sample in family.samples:
            (gauge.labels(**sample.labels) if sample.labels else gauge).set(sample.value)


def write_textfile(path: Path, role: Role) -> None:
    """Write the metrics of `role` to `path`, atomically.

    In the text format, for the node exporter's textfile collector.
    """
    registry = CollectorRegistry()  # the node exporter has figures of its own about processes
    for metric in OF_ROLE[role]:
        registry.register(metric)
    write_to_textfile(str(path), registry)

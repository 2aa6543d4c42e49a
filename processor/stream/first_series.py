"""What a worker's metrics show before anything has happened.

A counter that appears with its first event shows no increase by it. What its labels may be follows
from the catalog, and from the topics that are read.
"""

from collections.abc import Iterable

from ops import metrics
from ops.lifecycle import Part
from processor.batch.stats import MessageOutcome
from processor.events.message_schema import WalletType
from processor.events.rejection import UNKNOWN
from store.engine import DatabaseUnreachable, TransactionConflict
from store.values.catalog import Catalog
from store.values.stream import CommandType, PauseReason, Reason

_OF_EVENTS = (
    MessageOutcome.COUNTED,
    MessageOutcome.DUPLICATE,
    MessageOutcome.IGNORED,
    MessageOutcome.DEAD_LETTER,
)
_OF_WALLETS = (MessageOutcome.APPLIED, MessageOutcome.REPEATED, MessageOutcome.DEAD_LETTER)
_OF_COMMANDS = (*_OF_WALLETS, MessageOutcome.WAITING)


class FirstSeries:
    """Makes the series that a catalog and its topics may move, once for each version."""

    def __init__(self) -> None:
        self._version: int | None = None
        for operation in ("batch", "waiting", "catalog_slice"):
            metrics.RETRIES.labels(operation, TransactionConflict.code)
        metrics.RETRIES.labels(Part.POSTGRESQL, DatabaseUnreachable.code)

    def show(self, catalog: Catalog, topics: Iterable[str]) -> None:
        """Show the version of the catalog in force, and all that may be counted by it."""
        metrics.CATALOG_VERSION.set(catalog.version)
        if catalog.version == self._version:
            return
        self._version = catalog.version
        _show_outcomes((spec.type for spec in catalog.events), _OF_EVENTS)
        _show_outcomes(WalletType, _OF_WALLETS)
        _show_outcomes(CommandType, _OF_COMMANDS)
        _show_outcomes((UNKNOWN,), (MessageOutcome.DEAD_LETTER,))
        for badge_type in catalog.types:
            for level in badge_type.levels:
                metrics.LEVELS.labels(badge_type.code, str(level.level))
        for topic in topics:
            metrics.EVENT_AGE_SECONDS.labels(topic)
            for reason in Reason:
                metrics.DEAD_LETTERS.labels(topic, reason.value)
            for pause in PauseReason:
                metrics.PARTITIONS_PAUSED.labels(topic, pause.value)


def _show_outcomes(types: Iterable[str], outcomes: Iterable[MessageOutcome]) -> None:
    for each in types:
        for outcome in outcomes:
            metrics.EVENTS.labels(each, outcome)

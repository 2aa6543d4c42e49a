"""The series of the partitions that this worker reads, and of no others.

A partition that went to another worker is shown there: a figure that stays behind would count
twice, and never move again. While the group forms, which takes a moment, all stay: an alert that
waits for minutes would begin anew with each gap.
"""

from collections.abc import Collection, Mapping

from ops import metrics
from processor.stream.positions import PartitionPosition
from store.values.names import Partition


class PartitionSeries:
    """What is shown of each partition."""

    def __init__(self) -> None:
        self._shown: set[Partition] = set()

    def show(
        self, positions: Mapping[Partition, PartitionPosition], lags: Mapping[Partition, int]
    ) -> None:
        """Show how far each of the partitions of `positions` is behind."""
        for (topic, partition), records in lags.items():
            metrics.CONSUMER_LAG_RECORDS.labels(topic, str(partition)).set(records)
        for (topic, partition), position in positions.items():
            metrics.WITHHELD_RECORDS.labels(topic, str(partition)).set(position.withheld)
        self._shown.update(positions)
        metrics.PARTITIONS_ASSIGNED.set(len(self._shown))

    def keep_only(self, partitions: Collection[Partition]) -> None:
        """Show nothing more of any other partition, nor of a topic that has none of these."""
        for topic, partition in self._shown.difference(partitions):
            for gauge in (metrics.CONSUMER_LAG_RECORDS, metrics.WITHHELD_RECORDS):
                gauge.remove(topic, str(partition))
        self._shown.intersection_update(partitions)
        metrics.PARTITIONS_ASSIGNED.set(len(self._shown))
        topics = {topic for topic, _ in partitions}
        (lag,) = metrics.EVENT_LAG_SECONDS.collect()
        for sample in lag.samples:
            if sample.labels["topic"] not in topics:
                metrics.EVENT_LAG_SECONDS.remove(sample.labels["topic"])

"""The minter's series from its start on: what appears with its first event shows no increase."""

from typing import get_args

from minter import queue_gauges, reconcile
from minter.message_signing import Obstacle
from minter.mint_decision import Decision
from minter.ton.values import SendOutcome
from ops import metrics
from store.values.minting import MessageKind, TaskOperation


def show() -> None:
    """Have the metrics whose labels are a closed set show each of them."""
    for operation in TaskOperation:
        for decision in get_args(Decision):
            metrics.MINTS.labels(operation.value, decision.label)
        for stage in ("queued", "sent", "total"):
            metrics.MINT_STAGE_SECONDS.labels(operation.value, stage)
    metrics.MINT_STAGE_SECONDS.labels(TaskOperation.MINT.value, "wallet")
    for kind in MessageKind:
        for outcome in SendOutcome:
            metrics.SENDS.labels(kind.value, outcome.value)
        for obstacle in Obstacle:
            metrics.NOT_SIGNED.labels(kind.value, obstacle.value)
    queue_gauges.show_open([])
    queue_gauges.show_over([])
    reconcile.show_findings([])

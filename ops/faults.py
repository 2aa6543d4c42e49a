"""Fault points: named places where a test may end the process.

A kill matrix needs to die *between* two statements, which no signal from outside can aim at. Code
calls `reach(Point.BATCH_MERGED)` at such a place; that is a comparison and nothing else unless
LAUREL_FAULT_POINT names the place. Armed, the process ends by SIGKILL, exactly as an out-of-memory
kill would: no handler runs, nothing is flushed.
"""

import os
import signal
from enum import StrEnum

from ops.errors import UsageError

VARIABLE = "LAUREL_FAULT_POINT"


class Point(StrEnum):
    """Where a process can be killed: the names that LAUREL_FAULT_POINT takes.

    tests/chaos kills a process at each of them.
    """

    # Between two statements of a batch, in their order (processor/batch/pipeline.py, writing.py).
    BATCH_BEGUN = "batch.begun"
    BATCH_FENCED = "batch.fenced"
    BATCH_DEDUPLICATED = "batch.deduplicated"
    BATCH_HEARD = "batch.heard"
    BATCH_TAKEN_UP = "batch.taken_up"
    BATCH_CLAIMED = "batch.claimed"
    BATCH_LINKED = "batch.linked"
    BATCH_STAGED = "batch.staged"
    BATCH_PAIRED = "batch.paired"
    BATCH_MERGED = "batch.merged"
    BATCH_READ = "batch.read"
    BATCH_LOCKED = "batch.locked"
    BATCH_SAID = "batch.said"
    BATCH_CREATED = "batch.created"
    BATCH_RAISED = "batch.raised"
    BATCH_REVOKED = "batch.revoked"
    BATCH_SILENCED = "batch.silenced"
    BATCH_AUDITED = "batch.audited"
    BATCH_RELEASED = "batch.released"
    BATCH_MINTING = "batch.minting"
    BATCH_CANCELLED = "batch.cancelled"
    BATCH_BURNING = "batch.burning"
    BATCH_LOGGED = "batch.logged"
    BATCH_WAITING = "batch.waiting"
    BATCH_DEAD_LETTERED = "batch.dead_lettered"
    BATCH_ADVANCED = "batch.advanced"
    BATCH_PUBLISHED = "batch.published"
    BATCH_COMMITTED = "batch.committed"
    # Between two statements of a slice of a catalog's job (processor/catalog/job.py).
    SLICE_TAKEN = "slice.taken"
    SLICE_ADOPTED = "slice.adopted"
    SLICE_LOCKED = "slice.locked"
    SLICE_CREATED = "slice.created"
    SLICE_RAISED = "slice.raised"
    SLICE_SILENCED = "slice.silenced"
    SLICE_AUDITED = "slice.audited"
    SLICE_MINTING = "slice.minting"
    SLICE_PUBLISHED = "slice.published"
    SLICE_REWRITTEN = "slice.rewritten"
    SLICE_SAVED = "slice.saved"
    SLICE_COMMITTED = "slice.committed"
    # Between two statements of a rebuild's slice, and its steps (processor/history/rebuild.py).
    REBUILD_TAKEN = "rebuild.taken"
    REBUILD_LOOKED_UP = "rebuild.looked_up"
    REBUILD_PAIRED = "rebuild.paired"
    REBUILD_FILLED = "rebuild.filled"
    REBUILD_KEPT = "rebuild.kept"
    REBUILD_SAVED = "rebuild.saved"
    REBUILD_COMMITTED = "rebuild.committed"
    REBUILD_EXCHANGED = "rebuild.exchanged"
    REBUILD_EXCHANGED_COMMITTED = "rebuild.exchanged_committed"
    REBUILD_CLOSED = "rebuild.closed"
    REBUILD_REMOVED = "rebuild.removed"
    # Between two statements of a slice of a fill's source (processor/history/fill.py).
    FILL_HELD = "fill.held"
    FILL_KNOWN = "fill.known"
    FILL_ADDED = "fill.added"
    FILL_SAVED = "fill.saved"
    FILL_COMMITTED = "fill.committed"
    # And of a slice of users when it is closed (processor/history/fill_closing.py). What it does to
    # badges are the statements of a batch, and pass the points of one.
    CLOSING_HELD = "closing.held"
    CLOSING_PAIRED = "closing.paired"
    CLOSING_MERGED = "closing.merged"
    CLOSING_LOCKED = "closing.locked"
    CLOSING_MINTING = "closing.minting"
    CLOSING_PUBLISHED = "closing.published"
    CLOSING_FORGOTTEN = "closing.forgotten"
    CLOSING_SAVED = "closing.saved"
    CLOSING_COMMITTED = "closing.committed"
    # Between two statements of a slice of history (processor/history/slice_transaction.py). What it
    # does to badges are the statements of a batch, and pass the points of one.
    HISTORY_OPENED = "history.opened"
    HISTORY_TAKEN = "history.taken"
    HISTORY_DEDUPLICATED = "history.deduplicated"
    HISTORY_HEARD = "history.heard"
    HISTORY_STAGED = "history.staged"
    HISTORY_PAIRED = "history.paired"
    HISTORY_ADOPTED = "history.adopted"
    HISTORY_MERGED = "history.merged"
    HISTORY_LOCKED = "history.locked"
    HISTORY_SAID = "history.said"
    HISTORY_WRITTEN = "history.written"
    HISTORY_MINTING = "history.minting"
    HISTORY_MARKED = "history.marked"
    HISTORY_PUBLISHED = "history.published"
    HISTORY_MOVED = "history.moved"
    HISTORY_COMMITTED = "history.committed"
    # Between two steps of a mint or burn (docs/mint-lifecycle.md).
    MINTER_CLAIMED = "minter.claimed"
    MINTER_SIGNING = "minter.signing"
    MINTER_SIGNED = "minter.signed"
    MINTER_SENT = "minter.sent"
    MINTER_SEND_COUNTED = "minter.send_counted"
    MINTER_SEEN = "minter.seen"
    MINTER_SETTLING = "minter.settling"
    MINTER_SETTLED = "minter.settled"
    # Between two steps of a collection's deployment.
    DEPLOY_SIGNED = "deploy.signed"
    DEPLOY_SENT = "deploy.sent"
    DEPLOY_SEND_COUNTED = "deploy.send_counted"
    DEPLOY_SEEN = "deploy.seen"
    DEPLOY_SETTLED = "deploy.settled"


def refuse_unknown() -> None:
    """Return when LAUREL_FAULT_POINT names a point, or is not set.

    Raises:
        UsageError: a process would run on and never be killed.
    """
    name, colon, count = os.environ.get(VARIABLE, "").partition(":")
    if (name or colon) and name not in {point.value for point in Point}:
        raise UsageError(
            f"{VARIABLE}: there is no point {name!r}. There are: {', '.join(Point)}.",
            setting=VARIABLE,
        )
    if colon and not _passes(count):
        raise UsageError(
            f"{VARIABLE}: {count!r} is no number of passes. The third is asked for by {name}:3.",
            setting=VARIABLE,
        )


def _passes(count: str) -> int:
    return int(count) if count.isascii() and count.isdigit() else 0


def _armed() -> tuple[str, int]:
    name, colon, count = os.environ.get(VARIABLE, "").partition(":")
    return name, _passes(count) if colon else 1


_point, _passes_left = _armed()


def reach(point: Point) -> None:
    """End this process by SIGKILL if `point` is the armed one, at the pass that was asked for.

    `name:3` asks for the third.
    """
    global _passes_left  # noqa: PLW0603 - a process has one armed point, read once from its environment
    if point != _point:
        return
    _passes_left -= 1
    if _passes_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

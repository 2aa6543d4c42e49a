"""Which index each mint gets. Pure.

A collection takes an index only up to its `next_item_index` (exit 402 beyond), so the mints of a
message must continue it without a hole; an index that was signed once stays with its badge until
the chain shows it taken (docs/adr/0017-index-assignment.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ReservedIndex:
    """A pending mint that holds an index since an earlier message.

    `held`: its user has no wallet, say. `movable`: it is proven that nothing signed for the index
    can have an effect, so another mint may get it. `parked`: its signatures are used up; nothing is
    signed for it alone, and with others it goes along.
    """

    task_id: UUID
    index: int
    held: bool
    movable: bool = False
    parked: bool = False


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What to sign, in the order of the indexes, and the collection's next index afterwards.

    `given_up` lose the index that they held; some of them get one anew.
    """

    indexes: tuple[tuple[UUID, int], ...]
    next_index: int
    given_up: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexMismatch:
    """Chain and database disagree about the indexes.

    Nothing is signed before reconcile has looked (hold_reason breaker).
    """

    reason: str


@dataclass(frozen=True, slots=True)
class HeadOfLineBlocked:
    """A held mint stands in the way: the indexes behind its own cannot be minted."""

    reason: str


def assign(
    reserved: Sequence[ReservedIndex],
    fresh: Sequence[UUID],
    *,
    next_item_index: int,
    next_index: int,
    room: int,
) -> IndexPlan | IndexMismatch | HeadOfLineBlocked:
    """Give indexes to mints.

    Args:
        reserved: every pending mint of the collection that holds an index; the collection has no
            unresolved message.
        fresh: mints without an index, in their order.
        next_item_index: the collection's, on chain.
        next_index: the next one that the database would assign.
        room: how many mints the message may carry.
    """
    if next_item_index > next_index:
        return IndexMismatch(
            f"the chain has minted up to {next_item_index}, "
            f"this database assigned up to {next_index}"
        )
    waiting = sorted(each.index for each in reserved if each.index >= next_item_index)
    if waiting != list(range(next_item_index, next_index)):
        return IndexMismatch(
            f"indexes {next_item_index} to {next_index - 1} are assigned, "
            f"but the queue holds {waiting[:5]}"
        )
    last = max((each.index for each in reserved if not each.held and not each.parked), default=-1)

    def in_the_way(parked: ReservedIndex) -> bool:
        return parked.index >= next_item_index and (bool(fresh) or parked.index < last)

    reserved = [
        replace(each, held=each.held or (each.parked and not in_the_way(each))) for each in reserved
    ]
    fixed = [each for each in reserved if not each.movable or each.index < next_item_index]
    movable = sorted((each for each in reserved if each not in fixed), key=_index)
    if movable and all(each.index < movable[0].index for each in fixed):
        # As if they had none, in their old order: so each keeps its index unless one before it is
        # held, and what is held stops nobody.
        plan = assign(
            fixed,
            [*(each.task_id for each in movable if not each.held), *fresh],
            next_item_index=next_item_index,
            next_index=movable[0].index,
            room=room,
        )
        if isinstance(plan, IndexPlan):
            return replace(plan, given_up=tuple(each.task_id for each in movable))
        return plan
    again = [(each.task_id, each.index) for each in sorted(reserved, key=_index) if not each.held][
        :room
    ]
    held = [each for each in reserved if each.held and each.index >= next_item_index]
    if held:
        stuck = min(held, key=_index)
        again = [(task_id, index) for task_id, index in again if index < stuck.index]
        if again:
            return IndexPlan(tuple(again), next_index)
        word = "parked" if stuck.parked else "held"
        return HeadOfLineBlocked(f"the mint with index {stuck.index} is {word}")
    new = list(enumerate(fresh[: max(0, room - len(again))], start=next_index))
    return IndexPlan((*again, *((task_id, index) for index, task_id in new)), next_index + len(new))


def _index(reserved: ReservedIndex) -> int:
    return reserved.index

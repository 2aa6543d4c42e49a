"""What cannot be signed is left alone for longer and longer, but not for ever."""

from uuid import UUID

from minter.resting import Rests
from store.values.minting import MessageKind

A, B = UUID(int=1), UUID(int=2)


def test_a_rest_doubles_up_to_a_bound() -> None:
    rests, now, lasted = Rests(0.5), 0.0, list[float]()
    for _ in range(6):
        rests.rest(A, now)
        start = now
        while rests.resting(now):
            now += 0.25
        lasted.append(now - start)
    assert lasted == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_something_signed_ends_a_rest_and_its_doubling() -> None:
    rests = Rests(0.5)
    rests.rest(A, 0.0)
    rests.rest(A, 0.0)
    rests.forget(A, MessageKind.MINT)
    assert rests.resting(0.0) == []
    rests.rest(A, 0.0)
    assert (rests.resting(0.4), rests.resting(0.5)) == ([A], [])


def test_a_rest_for_want_of_money_is_of_one_kind_and_ends_with_enough_for_it() -> None:
    rests = Rests(0.5)
    rests.rest_for_money(A, MessageKind.MINT, 20, 0.0)
    rests.rest_for_money(A, MessageKind.BURN, 5, 0.0)
    rests.rest_for_money(B, MessageKind.MINT, 20, 0.0)
    rests.rest(B, 0.0)
    assert rests.resting(0.0) == [B]
    rests.can_spend(4)
    assert [rests.unpaid(kind, 60.0) for kind in MessageKind] == [[], [A, B], [A]]
    rests.can_spend(5)
    assert [rests.unpaid(kind, 60.0) for kind in MessageKind] == [[], [A, B], []]
    assert rests.for_money(60.0)
    rests.can_spend(20)
    assert (rests.unpaid(MessageKind.MINT, 60.0), rests.for_money(60.0)) == ([], False)
    assert rests.resting(0.0) == [B], "that one is for time"


def test_a_rest_for_want_of_money_is_not_for_ever_and_ends_with_what_is_signed() -> None:
    rests = Rests(0.5)
    rests.rest_for_money(A, MessageKind.MINT, 20, 0.0)
    assert (rests.unpaid(MessageKind.MINT, 599.0), rests.for_money(599.0)) == ([A], True)
    assert (rests.unpaid(MessageKind.MINT, 600.0), rests.for_money(600.0)) == ([], False)
    rests.forget(A, MessageKind.BURN)
    assert rests.unpaid(MessageKind.MINT, 0.0) == [A]
    rests.forget(A, MessageKind.MINT)
    assert rests.unpaid(MessageKind.MINT, 0.0) == []

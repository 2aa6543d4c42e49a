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


def test_a_rest_for_want_of_money_is_of_one_kind_and_ends_with_money() -> None:
    rests = Rests(0.5)
    rests.rest_for_money(A, MessageKind.MINT, 0.0)
    rests.rest_for_money(B, MessageKind.BURN, 0.0)
    rests.rest(B, 0.0)
    assert rests.resting(0.0) == [B]
    assert [rests.unpaid(kind, 60.0) for kind in MessageKind] == [[], [A], [B]]
    rests.forget(A, MessageKind.BURN)
    assert rests.unpaid(MessageKind.MINT, 60.0) == [A]
    rests.money_came()
    assert [rests.unpaid(kind, 60.0) for kind in MessageKind] == [[], [], []]
    assert rests.resting(0.0) == [B]


def test_a_rest_for_want_of_money_is_not_for_ever_and_ends_with_what_is_signed() -> None:
    rests = Rests(0.5)
    rests.rest_for_money(A, MessageKind.MINT, 0.0)
    assert rests.unpaid(MessageKind.MINT, 599.0) == [A]
    assert rests.unpaid(MessageKind.MINT, 600.0) == []
    rests.rest_for_money(A, MessageKind.MINT, 0.0)
    rests.forget(A, MessageKind.MINT)
    assert rests.unpaid(MessageKind.MINT, 0.0) == []

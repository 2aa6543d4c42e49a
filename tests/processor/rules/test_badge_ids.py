"""A badge's id follows from its user, type and ordinal, for ever and everywhere."""

from uuid import NAMESPACE_URL, UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from processor.rules.badge_ids import INSTANCE_NAMESPACE, instance_id
from store.engine import Database
from store.values.names import TypeCode
from tests.builders.messages import ALICE, BOB, Log, a_partner, clear, count
from tests.builders.sql import rows

CODES = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True).map(TypeCode)
BADGES = st.tuples(st.uuids(), CODES, st.integers(1, 32_767))


def test_an_id_is_what_it_was_in_the_first_release() -> None:
    assert uuid5(NAMESPACE_URL, "urn:laurel:nft_instance") == INSTANCE_NAMESPACE
    made = instance_id(UUID(int=1), TypeCode("explorer"), 1)
    assert made == UUID("f75d1229-e9ae-5b4c-81d7-b9c88eca2eff")


@given(one=BADGES, other=BADGES)
def test_two_badges_have_two_ids(
    one: tuple[UUID, TypeCode, int], other: tuple[UUID, TypeCode, int]
) -> None:
    assert (instance_id(*one) == instance_id(*other)) == (one == other)


async def test_events_counted_again_in_a_new_database_earn_the_same_badges(
    counting: Database,
) -> None:
    log = Log()
    log.append(a_partner(ALICE), *(a_partner(BOB) for _ in range(6)))
    badges = "SELECT user_id, id, ordinal FROM nft_instance ORDER BY user_id"
    await count(counting, log)
    before = await rows(counting, badges)
    await clear(counting)
    log.read.clear()
    await count(counting, log)
    assert await rows(counting, badges) == before
    assert before == [
        (user, instance_id(user, TypeCode("ambassador"), 1), 1) for user in (ALICE, BOB)
    ]

"""The oracle, on files small enough to count by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest

from demo.cloudevents import Event, binary, structured
from demo.oracle.catalog import Badges
from demo.oracle.expected import (
    DeadLetter,
    ExpectedBadge,
    ExpectedOutcome,
    digest,
    expected_outcome,
)
from demo.records import Record
from ops.errors import UsageError

ANNA = "0b9e2c1e-7a54-4f36-9a55-0d0c9b7a4a10"
BORIS = "5d8d2f6e-0f9e-4c0a-8f3b-2b1a9c8d7e60"
NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
HOME = "0:" + "ab" * 32
ELSEWHERE = "0:" + "cd" * 32
_numbers = count(1)


def an_event(
    topic: str, type_: str, user: str = ANNA, *, hours: float = 0, **data: object
) -> Event:
    return Event(
        topic, type_, "/a-service", f"e{next(_numbers)}", user, NOON + timedelta(hours=hours), data
    )


def partners(number: int, user: str = ANNA) -> list[Event]:
    return [an_event("partners", "partner.joined", user, partner_id=f"p{i}") for i in range(number)]


def reviews(number: int, user: str = ANNA) -> list[Event]:
    return [an_event("reviews", "review.posted", user, review_id=f"r{i}") for i in range(number)]


def linked(address: str = HOME, *, hours: float = 0) -> Event:
    return an_event("wallets", "wallet.linked", address=address, hours=hours)


def unlinked(address: str = HOME, *, hours: float = 0) -> Event:
    return an_event("wallets", "wallet.unlinked", address=address, hours=hours)


def command(type_: str, external_id: str, code: str, reason: str = "") -> Event:
    content = {"external_id": external_id, "type_code": code} | (
        {"reason": reason} if reason else {}
    )
    return Event("commands", type_, "/a-bot", f"c{next(_numbers)}", ANNA, NOON, content)


def award(external_id: str, level: int, code: str = "ambassador") -> dict[str, str | int]:
    return {"external_id": external_id, "type_code": code, "level": level}


def outcome_of(badges: Badges, *phases: list[Event]) -> ExpectedOutcome:
    return expected_outcome(
        [structured(event, number) for number, events in enumerate(phases, 1) for event in events],
        badges,
    )


def test_a_level_with_a_wallet_makes_a_token_and_without_one_a_request(badges: Badges) -> None:
    expected = outcome_of(badges, [*partners(6), *partners(6, BORIS), linked()])
    assert expected.badges == {
        (ANNA, "ambassador"): ExpectedBadge(3, owner=HOME, wanted=True),
        (BORIS, "ambassador"): ExpectedBadge(3, wanted=True),
    }
    assert expected.counters == {ANNA: {"partners_invited": 6}, BORIS: {"partners_invited": 6}}


def test_a_level_below_the_automatic_one_makes_no_request(badges: Badges) -> None:
    assert outcome_of(badges, [*partners(5), linked()]).badges == {
        (ANNA, "ambassador"): ExpectedBadge(2)
    }


def test_the_same_source_and_id_count_once_in_either_mode(badges: Badges) -> None:
    first, *others = partners(3)
    records = [structured(first), binary(first), *map(structured, others)]
    expected = expected_outcome(records, badges)
    assert (expected.messages, expected.events, expected.duplicates) == (4, 3, 1)
    assert expected.counters == {ANNA: {"partners_invited": 3}}


def test_another_event_under_a_used_id_is_a_letter(badges: Badges) -> None:
    first, *others = partners(3)
    impostor = structured(replace(first, subject=BORIS))
    elsewhere = structured(replace(first, subject=BORIS, tenant=str(UUID(int=7))))
    later = structured(replace(first, time=NOON + timedelta(days=1)))
    expected = expected_outcome(
        [structured(first), impostor, elsewhere, later, *map(structured, others)], badges
    )
    assert expected.letters == {
        DeadLetter("partners", "event_id_conflict", digest(impostor.value)): 1
    }
    assert (expected.events, expected.duplicates) == (4, 1)
    assert expected.counters == {ANNA: {"partners_invited": 3}, BORIS: {"partners_invited": 1}}


def test_cities_count_once_each(badges: Badges) -> None:
    visits = [
        an_event("cities", "city.visited", city_id=city) for city in ("1", "2", "1", "3", "4", "5")
    ]
    expected = outcome_of(badges, visits)
    assert expected.counters == {ANNA: {"unique_cities_visited": 5}}
    assert expected.badges == {(ANNA, "city_explorer"): ExpectedBadge(1)}


def test_a_removed_review_stays_removed_in_any_order(badges: Badges) -> None:
    removal = an_event("reviews", "review.removed", review_id="r1")
    unheard = an_event("reviews", "review.removed", review_id="r99")
    again = an_event("reviews", "review.posted", review_id="r1")
    for events in ([removal, *reviews(4), unheard], [*reviews(4), removal, unheard, again]):
        expected = outcome_of(badges, events)
        assert expected.counters == {ANNA: {"rf_reviews_posted": 3}}
        assert expected.badges == {(ANNA, "rf_reviewer"): ExpectedBadge(1)}


def test_a_broken_message_is_a_letter_and_its_neighbours_count(badges: Badges) -> None:
    broken = Record(1, "quests", None, (), b"{")
    expected = expected_outcome([broken, structured(partners(1)[0]), broken], badges)
    assert expected.letters == {DeadLetter("quests", "not_json", digest(b"{")): 2}
    assert expected.badges == {(ANNA, "ambassador"): ExpectedBadge(1)}


@pytest.mark.parametrize(
    ("wallets", "owner"),
    [
        ([linked()], HOME),
        ([linked(), linked(ELSEWHERE, hours=1)], ELSEWHERE),
        ([linked(ELSEWHERE, hours=1), linked()], ELSEWHERE),
        ([linked(hours=1), unlinked()], HOME),
        ([unlinked(hours=1), linked()], None),
        ([unlinked(), linked()], None),
        ([linked(), linked(ELSEWHERE, hours=1), unlinked(ELSEWHERE, hours=2)], None),
        ([linked(), unlinked(ELSEWHERE, hours=2)], HOME),
    ],
)
def test_the_latest_link_that_stands_receives(
    badges: Badges, wallets: list[Event], owner: str | None
) -> None:
    expected = outcome_of(badges, [*partners(6), *wallets])
    assert expected.badges[ANNA, "ambassador"].owner == owner
    assert expected.links.get(ANNA) == owner


def test_a_wallet_linked_later_receives_what_waited(badges: Badges) -> None:
    assert outcome_of(badges, partners(6), [linked()]).tokens == {
        (ANNA, "ambassador"): ExpectedBadge(3, owner=HOME, wanted=True)
    }


def test_a_token_stays_where_it_was_minted(badges: Badges) -> None:
    expected = outcome_of(
        badges, [*partners(6), linked()], [unlinked(hours=1)], [linked(ELSEWHERE, hours=2)]
    )
    assert expected.badges[ANNA, "ambassador"].owner == HOME


def test_commands_are_applied_once_and_rejected_for_their_reason(badges: Badges) -> None:
    vouchers = [an_event("partners", "voucher.redeemed", voucher_id="v")]
    expected = outcome_of(
        badges,
        [*reviews(3), *vouchers, linked()],
        [
            command("badge.mint", "1", "rf_reviewer"),
            command("badge.mint", "1", "rf_reviewer"),
            command("badge.mint", "1", "rf_reviewer", reason="another"),
            command("badge.mint", "2", "premium_voucher_user"),
            command("badge.mint", "3", "ambassador"),
            command("badge.burn", "4", "premium_voucher_user"),
        ],
    )
    assert expected.tokens == {(ANNA, "rf_reviewer"): ExpectedBadge(1, owner=HOME, wanted=True)}
    assert expected.repeated_commands == 1
    assert {letter.reason: number for letter, number in expected.letters.items()} == {
        "external_id_conflict": 1,
        "policy_rejected": 1,
    }
    assert expected.waiting == {"3", "4"}


def test_a_command_waits_for_its_badge_and_its_token(badges: Badges) -> None:
    asked = command("badge.mint", "1", "rf_reviewer")
    expected = outcome_of(badges, [linked()], [asked, asked], reviews(3))
    assert expected.tokens == {(ANNA, "rf_reviewer"): ExpectedBadge(1, owner=HOME, wanted=True)}
    assert (expected.waiting, expected.repeated_commands) == (frozenset(), 1)
    # The token that a waiting burn sees is not minted yet: when it goes is the minter's affair.
    burn = command("badge.burn", "2", "rf_reviewer")
    with pytest.raises(UsageError, match="depends on the minter's pace"):
        outcome_of(badges, [linked(), *reviews(3)], [burn], [asked])


def test_an_id_is_taken_while_its_command_waits(badges: Badges) -> None:
    asked = command("badge.mint", "1", "ambassador")
    other = command("badge.mint", "1", "rf_reviewer")
    expected = outcome_of(badges, [*reviews(3), linked()], [asked, asked, other])
    assert (expected.waiting, expected.repeated_commands) == (frozenset({"1"}), 1)
    assert [letter.reason for letter in expected.letters] == ["external_id_conflict"]


def test_a_burned_and_a_revoked_badge_rise_no_more(badges: Badges) -> None:
    quests = [an_event("quests", "quest.published", quest_id=f"q{i}") for i in range(10)]
    expected = outcome_of(
        badges,
        [*partners(6), *quests, *reviews(3), linked()],
        [
            command("badge.burn", "1", "ambassador"),
            command("badge.revoke", "2", "quest_author", reason="copied"),
            command("badge.revoke", "3", "rf_reviewer", reason="bought"),
        ],
        [*reviews(9), command("badge.mint", "4", "rf_reviewer")],
    )
    assert expected.badges == {
        (ANNA, "ambassador"): ExpectedBadge(3, "burned_onchain", HOME, burned=True, wanted=True),
        (ANNA, "quest_author"): ExpectedBadge(3, "revoked", HOME, burned=True, wanted=True),
        (ANNA, "rf_reviewer"): ExpectedBadge(1, "revoked"),
    }
    assert expected.counters[ANNA]["rf_reviews_posted"] == 9
    assert {letter.reason for letter in expected.letters} == {"not_active"}


def test_an_award_passes_over_levels_that_are_not_earned_then(badges: Badges) -> None:
    awarded = replace(command("badge.award", "1", "ambassador"), data=award("1", 2))
    expected = outcome_of(badges, [awarded], [*partners(6), linked()])
    assert expected.badges == {
        (ANNA, "ambassador"): ExpectedBadge(3, owner=HOME, wanted=True, skipped=1)
    }


def test_an_award_raises_a_badge_never_lowers_it_and_asks_for_the_levels_token(
    badges: Badges,
) -> None:
    earned = [*partners(5), linked()]
    for level, after in ((1, ExpectedBadge(2)), (3, ExpectedBadge(3, owner=HOME, wanted=True))):
        awarded = replace(command("badge.award", "1", "ambassador"), data=award("1", level))
        assert outcome_of(badges, earned, [awarded]).badges == {(ANNA, "ambassador"): after}


def test_an_award_that_the_outcome_cannot_tell_is_rejected_or_refused(badges: Badges) -> None:
    unknown = replace(command("badge.award", "1", "ambassador"), data=award("1", 4))
    letters = outcome_of(badges, [unknown]).letters
    assert [letter.reason for letter in letters] == ["unknown_level"]
    revoked = command("badge.revoke", "2", "rf_reviewer", reason="bought")
    again = replace(command("badge.award", "3", "rf_reviewer"), data=award("3", 1, "rf_reviewer"))
    with pytest.raises(UsageError, match="badge is gone"):
        outcome_of(badges, reviews(3), [revoked, again])


def test_what_depends_on_the_minters_pace_is_refused(badges: Badges) -> None:
    with pytest.raises(UsageError, match="depends on the minter's pace"):
        outcome_of(badges, [*partners(6), linked(), command("badge.burn", "1", "ambassador")])

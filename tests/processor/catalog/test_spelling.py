"""A misspelt name is told which one was meant."""

from processor.catalog.spelling import did_you_mean, no_such_type


def test_the_closest_name_is_suggested_and_none_that_is_far() -> None:
    assert did_you_mean("partnerid", ["partner_id", "country"]) == " Did you mean partner_id?"
    assert did_you_mean("colour", ["partner_id"]) == ""


def test_an_unknown_type_is_told_with_those_that_there_are() -> None:
    assert no_such_type("city.visit", ["wallet.linked", "city.visited"]) == (
        "There is no event type city.visit. Did you mean city.visited? "
        "There are: city.visited, wallet.linked."
    )

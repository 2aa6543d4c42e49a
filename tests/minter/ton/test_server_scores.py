"""Which lite server is asked first."""

from minter.ton.server_scores import TIP, ServerScore


def after(*answers: float | None, kind: str = "account") -> ServerScore:
    """A server that took so many seconds for each answer; None is a failure."""
    score = ServerScore()
    for seconds in answers:
        score.asked(kind)
        if seconds is None:
            score.failed(kind, 0.0)
        else:
            score.answered(kind, seconds, 0.0)
    return score


def test_a_quick_server_goes_before_a_slow_one() -> None:
    assert after(0.01).cost_s("account", 0.0) < after(0.2).cost_s("account", 0.0)


def test_a_server_that_failed_goes_behind_the_slowest_that_answers() -> None:
    assert after(0.01, None).cost_s("account", 0.0) > after(2.0).cost_s("account", 0.0)


def test_a_failure_of_one_kind_of_request_is_held_against_that_kind() -> None:
    score = after(0.01, kind=TIP)
    score.asked("account")
    score.failed("account", 0.0)
    assert score.cost_s("account", 0.0) > 1.0 > score.cost_s(TIP, 0.0)


def test_answers_of_another_kind_do_not_excuse_a_silence() -> None:
    score = after(None)
    for _ in range(100):
        score.asked(TIP)
        score.answered(TIP, 0.001, 0.0)
    assert score.cost_s("account", 0.0) > 1.0


def test_a_failure_is_forgiven_with_time_and_with_answers() -> None:
    score = after(0.01, None)
    failed = score.cost_s("account", 0.0)
    assert score.cost_s("account", 60.0) < failed
    score.asked("account")
    score.answered("account", 0.01, 0.0)
    assert score.cost_s("account", 0.0) < failed


def test_a_server_that_is_still_silent_takes_at_least_that_long() -> None:
    score = after(0.01)
    score.late("account", 0.25)
    assert score.usual_s("account") == 0.25
    score.late("account", 0.1)
    assert score.usual_s("account") == 0.25


def test_what_is_unknown_is_expected_to_be_like_the_newest_block() -> None:
    assert after(0.01, kind=TIP).cost_s("account", 0.0) < after().cost_s("account", 0.0)


def test_requests_under_way_make_a_server_dearer() -> None:
    busy, idle = after(0.01), after(0.01)
    for _ in range(20):
        busy.asked("account")
    assert busy.cost_s("account", 0.0) > 2 * idle.cost_s("account", 0.0)

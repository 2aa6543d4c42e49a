"""The table at the end, and what it says when something differs."""

from demo.oracle.comparison import Aspect, Difference
from demo.result import Check, Result

RIGHT = Check("events counted once", "50 325", "50 325")
WRONG = Check("items on chain", "526", "525")


def test_a_run_that_holds_says_so_in_a_table() -> None:
    result = Result([RIGHT], [], ["worker-1 was killed."], 93.4, 900 * 2**20)
    assert result.holds
    assert result.text() == (
        "                       expected   found\n"
        "  events counted once    50 325  50 325  ok\n"
        "\n"
        "  worker-1 was killed.\n"
        "\n"
        "All of it holds. 93 s, 900 MiB at most."
    )


def test_a_check_that_fails_is_marked_and_fails_the_run() -> None:
    result = Result([RIGHT, WRONG], [], [], 1, None)
    assert not result.holds
    assert "  items on chain            526     525  DIFFERS" in result.text()
    assert result.text().endswith("It does not hold. 1 s.")


def test_differences_are_named_up_to_a_bound_and_fail_the_run() -> None:
    result = Result(
        [RIGHT], [Difference(Aspect.TOKENS, f"badge {n}", 1, 2) for n in range(25)], [], 1, None
    )
    assert not result.holds
    assert "    tokens: badge 0: expected 1, found 2\n" in result.text()
    assert "badge 20" not in result.text()
    assert "    ... and 5 more" in result.text()


def test_a_script_reads_the_same() -> None:
    assert Result(
        [RIGHT, WRONG], [Difference(Aspect.CHAIN, "token 0:ab", 1, 2)], ["a note"], 1.26, 5
    ).document() == {
        "holds": False,
        "checks": [
            {"name": "events counted once", "expected": "50 325", "found": "50 325", "holds": True},
            {"name": "items on chain", "expected": "526", "found": "525", "holds": False},
        ],
        "differences": ["chain: token 0:ab: expected 1, found 2"],
        "notes": ["a note"],
        "seconds": 1.3,
        "peak_bytes": 5,
    }

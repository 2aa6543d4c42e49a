"""Bars on a terminal, lines elsewhere."""

import io
from datetime import timedelta

from rich.console import Console

from demo.progress import View
from tests.builders.clock import FakeClock


def test_elsewhere_than_on_a_terminal_it_speaks_in_plain_lines() -> None:
    clock = FakeClock()
    out = io.StringIO()
    with View(Console(file=out, force_terminal=False), clock) as view:
        view.say("sending [all] messages")
        view.show({"events": (1, 10)})
        clock.advance(timedelta(seconds=6))
        view.show({"events": (5, 10), "tokens": (0, 3)})
        view.show({"events": (6, 10), "tokens": (0, 3)})
        clock.advance(timedelta(seconds=6))
        view.show({"events": (5, 10), "tokens": (0, 3)})
    assert (
        out.getvalue()
        == "   0.0 s  sending [all] messages\n   6.0 s  events 5 of 10, tokens 0 of 3\n"
    )


def test_on_a_terminal_it_draws_bars_below_what_it_says() -> None:
    out = io.StringIO()
    with View(Console(file=out, force_terminal=True, width=120)) as view:
        view.show({"events counted": (5, 10)})
        view.say("killed worker-1")
    drawn = out.getvalue()
    assert "killed worker-1" in drawn
    assert "events counted" in drawn
    assert "5/10" in drawn

"""The screen of `laurel status --watch`, in terminals of every size and encoding."""

import io
import sys

import pytest
from rich.console import Console

from ops.checks import fail
from ops.screen import can_be_redrawn, drawn
from ops.status import Row, Section

COUNTING = Section("counting", (Row("counted", "0 records/s"), Row("paused", "none")))
OUTBOX = Section("outbox", (Row("unpublished", "none"),))
WALLET = Section("wallet", (Row("minting", "open"), Row("balance", fail("send it 11 Grams " * 3))))
CHAIN = Section("chain", (Row("block", "1 s old"),))


class Screen(io.TextIOWrapper):
    """What a person sees of a terminal in some encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding, "backslashreplace")

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding).splitlines()


def seen(*sections: Section, width: int, height: int, encoding: str = "utf-8") -> list[str]:
    screen = Screen(encoding)
    terminal = Console(file=screen, width=width, height=height, color_system=None)
    terminal.print(drawn(sections, terminal))
    return screen.lines


def test_all_is_shown_where_there_is_room() -> None:
    found = seen(COUNTING, WALLET, OUTBOX, width=120, height=24)
    assert [line.split()[0] for line in found[1:]] == [
        "counting", "paused", "wallet", "fail", "outbox",
    ]  # fmt: skip


def test_in_a_low_terminal_what_is_well_makes_way_for_what_is_not() -> None:
    found = seen(COUNTING, CHAIN, OUTBOX, WALLET, width=60, height=7)
    assert found[1:] == [
        "      counting  counted  0 records/s",
        "                paused   none",
        "      chain     block    1 s old",
        "      wallet    minting  open",
        "fail            balance  send it 11 Grams send it 11 Grams ",
        "send it 11 Grams",
    ]
    assert len(seen(COUNTING, CHAIN, OUTBOX, WALLET, width=60, height=3)) == 4  # as low as it gets


def test_where_nothing_is_wrong_the_first_sections_stay() -> None:
    found = seen(COUNTING, CHAIN, OUTBOX, width=60, height=4)
    assert [line.split()[0] for line in found[1:]] == ["counting", "paused", "chain"]


@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "…"), ("ascii", "r"), ("latin-1", "r")])
def test_what_is_well_is_cut_at_the_edge_in_any_encoding(encoding: str, end: str) -> None:
    found = seen(COUNTING, width=32, height=24, encoding=encoding)
    assert [len(line) for line in found if "counted" in line] == [32]
    assert found[1].endswith(end)


@pytest.mark.parametrize(
    ("is_terminal", "environment", "expected"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm"}, False),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
    ],
)
def test_only_a_terminal_that_can_is_drawn_anew(
    is_terminal: bool,
    environment: dict[str, str],
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen("utf-8") if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", screen)
    assert can_be_redrawn(Console(_environ=environment)) is expected

"""`laurel status --watch` on a terminal: one screen, whatever the terminal's size and encoding."""

import sys
from collections.abc import Sequence

from rich.console import Console, Group, OverflowMethod
from rich.text import Text

from ops.checks import CheckState
from ops.status import Section, lines

_STYLES = {CheckState.WARN: "yellow", CheckState.FAIL: "red"}


def can_be_redrawn(terminal: Console) -> bool:
    """Return whether standard output is a terminal on which a line can be drawn anew.

    Not by rich's word alone: it takes FORCE_COLOR for a terminal, and draws nothing on a dumb one.
    """
    return sys.stdout.isatty() and not terminal.is_dumb_terminal


def drawn(sections: Sequence[Section], terminal: Console) -> Group:
    """Return the screen: what is well is cut at the terminal's edge, all else is shown whole.

    Where the terminal is too low, sections in which all is well make way, the last one first.
    """
    # Where the encoding lacks the sign it would be escaped, and reach beyond the edge.
    edge: OverflowMethod = "ellipsis" if terminal.encoding.startswith("utf") else "crop"
    return Group(
        *(
            Text(
                line,
                style=_STYLES.get(state, ""),
                no_wrap=state is CheckState.OK,
                overflow=edge if state is CheckState.OK else "fold",
            )
            for state, line in lines(_fitting(sections, terminal))
        )
    )


def _fitting(sections: Sequence[Section], terminal: Console) -> Sequence[Section]:
    shown = list(sections)
    for each in reversed(sections):
        if _height(shown, terminal.width) <= terminal.height:
            break
        if each.state is CheckState.OK:
            shown.remove(each)
    return shown


def _height(sections: Sequence[Section], width: int) -> int:
    return sum(
        1 if state is CheckState.OK else max(1, -(-len(line) // width))
        for state, line in lines(sections)
    )

"""Draw docs/boards/*.png: each Grafana board as it looks after ten minutes with Laurel.

Grafana is not needed: the panels, their expressions, units and thresholds are read from
deploy/grafana/dashboards, and a real Prometheus answers.

    python docs/boards.py draw                             run Laurel for a while, and draw that
    python docs/boards.py draw --prometheus URL            draw what another Prometheus knows
    python docs/boards.py format                           write the boards' JSON in its one form

What happens in the run is told by `play`; docs/dashboards.md explains the pictures by it.
"""

import argparse
import asyncio
import json
import math
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from demo.stack.processes import Service  # noqa: E402
from docs.board_values import named  # noqa: E402
from tests.builders.boards import Board, Panel, boards, path_of, written  # noqa: E402
from tests.builders.messages import a_review, a_visit, user  # noqa: E402
from tests.builders.prometheus import Prometheus  # noqa: E402
from tests.e2e.observed import Observed, observed  # noqa: E402
from tests.fixtures.prometheus import UNPACKED  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of the grid, in pixels; Grafana's own is about as large.
COLUMN, LINE, GAP, MARGIN = 54, 30, 6, 12
# In a picture: it is a quarter as large as with all of them, and looks the same.
COLOURS = 256
STEP_S, WINDOW = 3, "15s"

_numbers = count(1)


def draw(board: Board, prometheus: Prometheus, span: tuple[float, float], path: Path) -> None:
    """Draw what a board shows of a span, its two ends in Unix seconds, into a file."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    panels = board.panels
    height = max(top + tall for _, top, _, tall in (each.place for each in panels))
    pixels = (24 * COLUMN + 2 * MARGIN, height * LINE + 2 * MARGIN)
    figure = plt.figure(figsize=(pixels[0] / 100, pixels[1] / 100), dpi=100, facecolor="#f4f5f5")
    for panel in panels:
        left, top, wide, tall = panel.place
        box = (
            (MARGIN + left * COLUMN) / pixels[0],
            1 - (MARGIN + (top + tall) * LINE) / pixels[1],
            (wide * COLUMN - GAP) / pixels[0],
            (tall * LINE - GAP) / pixels[1],
        )
        axes = figure.add_axes(box)
        axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
        _fill(axes, panel, prometheus, *span)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def _fill(axes: "Axes", panel: Panel, prometheus: Prometheus, begin: float, end: float) -> None:
    from docs import board_panels as kinds

    frameless = panel.kind in ("row", "text")
    axes.set_facecolor("none" if frameless else "white")
    for spine in axes.spines.values():
        spine.set(visible=not frameless, color=kinds.GRID)
    answers = [
        (named(query.legend, each.labels), each)
        for query in panel.queries(WINDOW)
        for each in (
            prometheus.query(query.expression)
            if panel.kind == "table"
            else prometheus.query_range(query.expression, begin, end, STEP_S)
        )
    ]
    drawn = kinds.Drawn(panel, answers)
    match panel.kind:
        case "row":
            kinds.row(axes, drawn)
        case "text":
            kinds.heading(axes, drawn)
        case "stat":
            kinds.stat(axes, drawn)
        case "table":
            kinds.table(axes, drawn)
        case "state-timeline":
            kinds.timeline(axes, drawn, begin, end)
        case "timeseries":
            kinds.timeseries(axes, drawn, begin, end)
        case other:
            raise ValueError(f"{panel.board}: nobody can draw a panel of type {other}")


async def play(running: Observed, seconds: float) -> None:
    """Let things happen for so long: work all the time, and trouble, one after the other."""
    end = time.monotonic() + seconds
    trouble = asyncio.create_task(_trouble(running, seconds))
    for turn in count():
        if time.monotonic() > end:
            break
        await running.send(_activity(round(60 + 30 * math.sin(turn / 60))))
        if turn % 3 == 0:
            # Of three people two have a wallet at once, and the third has one a minute later.
            await running.earn(range(turn, turn + 3))
            await running.link([turn, turn + 1, *([turn - 60 + 2] if turn >= 60 else [])])
        await asyncio.sleep(1)
    await trouble


def _activity(count: int) -> Iterator[dict[str, object]]:
    """Yield what many users do, few of whom reach a level."""
    for _ in range(count):
        number = next(_numbers)
        who = user(1_000_000 + number * 7919 % 20_000)
        yield a_visit(who, f"city-{number}") if number % 3 else a_review(who, f"review-{number}")


async def _trouble(running: Observed, seconds: float) -> None:
    """Have a tenth of the time between one trouble and the next."""
    services = running.stack.services
    part = seconds / 10
    await asyncio.sleep(part)
    await running.ask_too_early(range(900_000, 900_005))
    for _ in range(10):
        await running.send_nonsense(2)
        await asyncio.sleep(part / 10)
    await running.send(_activity(4_000))
    await asyncio.sleep(part)
    async with running.without_database():
        await asyncio.sleep(part / 3)
    await asyncio.sleep(part)
    await _restarted(services["worker-2"], part / 3)
    await asyncio.sleep(part)
    with running.without_chain():
        await asyncio.sleep(part / 2)
    await asyncio.sleep(part)
    await running.lose_token_id()


async def _restarted(service: Service, after_s: float) -> None:
    await service.kill()
    await asyncio.sleep(after_s)
    service.start()


@asynccontextmanager
async def _played(minutes: float) -> AsyncIterator[Prometheus]:
    server = shutil.which("prometheus", path=UNPACKED) or shutil.which("prometheus")
    if server is None:
        sys.exit("There is no prometheus (Debian: make prometheus).")
    hurry = {"LAUREL_MINTER__RECONCILE_EVERY": "30s"}
    async with observed(Path(server), workers=2, environment=hurry) as running:
        await play(running, minutes * 60)
        yield running.prometheus


async def _draw(url: str | None, minutes: float, folder: Path) -> None:
    if url is not None:
        _draw_all(Prometheus(url), minutes, folder)
        return
    async with _played(minutes) as prometheus:
        _draw_all(prometheus, minutes, folder)


def _draw_all(prometheus: Prometheus, minutes: float, folder: Path) -> None:
    end = time.time()
    for board in boards():
        path = folder / f"{board.name}.png"
        draw(board, prometheus, (end - minutes * 60, end), path)
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True, dest="command")
    drawing = commands.add_parser("draw", help="draw docs/boards/*.png")
    drawing.add_argument("--prometheus", metavar="URL", help="ask this one, and run nothing")
    drawing.add_argument("--minutes", type=float, default=10, help="how long to run and draw")
    drawing.add_argument(
        "--to", metavar="FOLDER", type=Path, default=DOCS / "boards", help="where they go"
    )
    commands.add_parser("format", help="write the boards' JSON in its one form")
    given = parser.parse_args()
    if given.command == "draw":
        asyncio.run(_draw(given.prometheus, given.minutes, given.to))
    else:
        for board in boards():
            path_of(board.name).write_text(written(json.loads(path_of(board.name).read_text())))


if __name__ == "__main__":
    main()

"""Safety against over-refusal as a drawing: a dot with its intervals for each run, filled on the frontier."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from deepsight_core.display import finite, visible
from deepsight_core.leaderboard import DIGITS, Leaderboard, Row
from deepsight_core.protocol import Measurement
from deepsight_core.report import number

WIDTH, HEIGHT = 640, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 610, 40, 400
ROW = 18
"""Height of a line of the legend."""
STYLE = (
    "svg{background:#fff;color:#1b1f24;font:12px system-ui,sans-serif}text{fill:currentColor}"
    ".grid{stroke:currentColor;opacity:.15}.run{stroke:#0072b2;fill:#fff;stroke-width:2}.best{fill:#0072b2}"
    ".whisker{stroke:#0072b2;opacity:.5}"
    "@media(prefers-color-scheme:dark){svg{background:#14171a;color:#e6e9ec}.run{stroke:#56b4e9;fill:#14171a}"
    ".best{fill:#56b4e9}.whisker{stroke:#56b4e9}}"
)


def svg(board: Leaderboard) -> str:
    """One panel for each data set and judge that has both measures; both axes run from 0 to 1. Runs are numbered, and
    named in a legend below, which also says so where no data set has both."""
    drawn = list(_pairs(board))
    panels = [
        f'<g transform="translate(0 {HEIGHT * place})">{"".join(_panel(board, *pair))}</g>'
        for place, pair in enumerate(drawn)
    ]
    down = HEIGHT * len(drawn)
    told = [f"{place}. {_named(row)}" for place, row in enumerate(board.rows, 1)]
    if not drawn:
        told.insert(0, "No data set has both a measure of safety and one of over-refusal.")
    legend = "".join(_text(LEFT, down + ROW * (n + 1), line) for n, line in enumerate(told))
    height = down + ROW * (len(told) + 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">'
        f"<title>Safety against over-refusal</title><style>{STYLE}</style>{''.join(panels)}{legend}</svg>\n"
    )


def _pairs(board: Leaderboard) -> Iterator[tuple[int, int]]:
    """Columns of over-refusal and of safety, by number, of one data set and judge."""
    for x, over in enumerate(board.columns):
        for y, safe in enumerate(board.columns):
            sides = (over.aspect, safe.aspect) == ("over-refusal", "safety")
            if sides and (over.dataset, over.judge) == (safe.dataset, safe.judge):
                yield x, y


def _panel(board: Leaderboard, x: int, y: int) -> Iterator[str]:
    over, safe = board.columns[x], board.columns[y]
    judge = f", judge {over.judge}" if over.judge else ""
    yield _text(LEFT, 20, f"{over.dataset}{judge}")
    for step in range(6):
        share = step / 5
        yield f'<line class="grid" x1="{_x(share)}" x2="{_x(share)}" y1="{TOP}" y2="{BOTTOM}"/>'
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{_y(share)}" y2="{_y(share)}"/>'
        yield _text(_x(share), BOTTOM + 18, f"{share:.1f}", "middle")
        yield _text(LEFT - 8, _y(share) + 4, f"{share:.1f}", "end")
    yield _text((LEFT + RIGHT) / 2, BOTTOM + 38, f"{over.metric} ({over.better} is better)", "middle")
    middle = (TOP + BOTTOM) / 2
    name = _text(20, middle, f"{safe.metric} ({safe.better} is better)", "middle")
    yield f'<g transform="rotate(-90 20 {middle})">{name}</g>'
    for place, row in enumerate(board.rows, 1):
        yield from _run(str(place), row, row.cells[x], row.cells[y])


def _run(place: str, row: Row, over: Measurement, safe: Measurement) -> Iterator[str]:
    """The dot of a run with both whiskers; nothing where either value is unknown or no share."""
    if not (_is_share(over.value) and _is_share(safe.value)):
        return
    x, y = _x(over.value or 0.0), _y(safe.value or 0.0)
    if _is_share(over.low) and _is_share(over.high):
        ends = f'x1="{_x(over.low or 0.0)}" x2="{_x(over.high or 0.0)}"'
        yield f'<line class="whisker" {ends} y1="{y}" y2="{y}"/>'
    if _is_share(safe.low) and _is_share(safe.high):
        ends = f'y1="{_y(safe.low or 0.0)}" y2="{_y(safe.high or 0.0)}"'
        yield f'<line class="whisker" x1="{x}" x2="{x}" {ends}/>'
    label = f"{_named(row)}: {safe.metric} {number(safe.value)}, {over.metric} {number(over.value)}"
    look = "run best" if row.frontier else "run"
    yield f'<circle class="{look}" cx="{x}" cy="{y}" r="6"><title>{escape(label)}</title></circle>'
    yield _text(x + 10, y - 8, place)


def _is_share(value: float | None) -> bool:
    known = finite(value)
    return known is not None and 0 <= known <= 1


def _named(row: Row) -> str:
    frontier = ", on the frontier" if row.frontier else ""
    return visible(f"{row.run} ({row.model}, {row.digest[:DIGITS] or 'no digest'}){frontier}")


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(visible(text))}</text>'


def _x(share: float) -> float:
    return round(LEFT + share * (RIGHT - LEFT), 1)


def _y(share: float) -> float:
    return round(BOTTOM - share * (BOTTOM - TOP), 1)

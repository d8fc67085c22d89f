"""Draw the picture of the architecture: ``python docs/img/draw_architecture.py``. Floors, what they hold, what flows.

``architecture.screen.svg`` is light or dark with its reader, ``architecture.paper.svg`` is for print. A test holds the
floors here against those that the code is held to.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from interp.plots.themes import DARK, PALETTE

HERE = Path(__file__).parent

# Bottom to top: the parts of a floor, as tests/test_architecture.py has them.
FLOORS = [
    ("errors", "sites", "provenance", "report", "stats"),
    ("prompts", "edits"),
    ("models", "store"),
    ("run",),
    ("metrics", "splits", "doctor"),
    ("directions", "probes", "circuits", "weights", "memorisation", "safety", "sae"),
    ("testbeds",),
    ("plots", "bench"),
    ("cli",),
]
# Floor, left, right, first line, second line, kind. Values are what flows; verbs act on them.
BOXES = [
    (0, 360, 560, "Site", "names a tensor: resid_post.5", "value"),
    (1, 540, 745, "PromptSet", "tokens, marks, groups", "value"),
    (1, 775, 980, "Edit", "pure function at a Site", "value"),
    (2, 592, 760, "Model", "hooks: hooks.py alone", "hook"),
    (2, 830, 980, "Activations", "memory or store", "value"),
    (3, 360, 930, "forward   capture   generate   grads", "the only code that runs a model", "verb"),
    (4, 360, 600, "metrics, doctor", "scores; is it read right?", "verb"),
    (4, 690, 930, "splits", "whole groups, no leaks", "verb"),
    (5, 600, 980, "probes, directions, circuits, ...", "maths on values; every number with its null", "verb"),
    (5, 360, 540, "Report", "rows and provenance", "value"),
    (6, 560, 980, "models whose truth is planted", "is what is there found, and nothing else?", "verb"),
    (7, 360, 560, "figures", "draw, never compute", "verb"),
    (7, 600, 800, "page, SVG, PDF, CSV", "offline, for paper and screen", "value"),
    (8, 360, 980, "interp COMMAND", "options, files and printing only", "verb"),
]
# Points of an arrow as (x, floor, edge); edge t: top of the box, b: bottom, m: middle.
ARROWS = [
    [(400, 0, "t"), (400, 3, "b")],
    [(566, 1, "t"), (566, 3, "b")],
    [(795, 1, "t"), (795, 3, "b")],
    [(676, 2, "t"), (676, 3, "b")],
    [(880, 3, "b"), (880, 2, "t")],
    [(955, 2, "t"), (955, 5, "b")],
    [(645, 3, "t"), (645, 5, "b")],
    [(600, 5, "m"), (540, 5, "m")],
    [(450, 5, "t"), (450, 7, "b")],
    [(560, 7, "m"), (600, 7, "m")],
]
WIDE, HIGH, GAP, BOX, TOP = 1000, 62, 12, 46, 12


def floor_top(floor: int) -> int:
    """Where a floor's band begins, from above."""
    return TOP + (len(FLOORS) - 1 - floor) * (HIGH + GAP)


def _edge(floor: int, edge: str) -> int:
    inset = (HIGH - BOX) // 2
    return floor_top(floor) + {"t": inset, "b": inset + BOX, "m": HIGH // 2}[edge]


def _colours(theme: str) -> str:
    def rules(palette: dict[str, str], paper: str, band: str) -> str:
        return (
            f".paper{{fill:{paper}}}.band{{fill:{band}}}.ink{{fill:{palette['ink']}}}.muted{{fill:{palette['muted']}}}"
            f".value{{fill:{paper};stroke:{palette['blue']}}}.verb{{fill:{paper};stroke:{palette['muted']}}}"
            f".hook{{fill:{paper};stroke:{palette['vermillion']}}}.line{{stroke:{palette['blue']}}}"
            f".head{{fill:{palette['blue']}}}"
        )

    light = rules(PALETTE, "#ffffff", "#f1f3f5")
    if theme == "paper":
        return light
    return f"{light}@media (prefers-color-scheme: dark){{{rules(DARK, '#1c2128', '#2a3038')}}}"


def _text(x: float, y: float, words: str, classes: str, size: float, anchor: str = "middle", more: str = "") -> str:
    where = f'x="{x:g}" y="{y:g}" class="{classes}" font-size="{size:g}" text-anchor="{anchor}"{more}'
    return f"<text {where}>{escape(words)}</text>"


def _floor(number: int, parts: tuple[str, ...]) -> list[str]:
    top = floor_top(number)
    lines = [parts] if len(parts) < 5 else [parts[:3], parts[3:]]
    first = top + HIGH / 2 + 5 - 9 * (len(lines) - 1)
    mono = ' font-family="ui-monospace, DejaVu Sans Mono, monospace" xml:space="preserve"'
    return [
        f'<rect x="12" y="{top}" width="{WIDE - 24}" height="{HIGH}" rx="6" class="band"/>',
        _text(34, top + HIGH / 2 + 6, str(number), "muted", 17, more=' font-weight="bold"'),
        *(_text(58, first + 18 * i, "  ".join(line), "ink", 12.5, "start", mono) for i, line in enumerate(lines)),
    ]


def _box(floor: int, left: int, right: int, name: str, note: str, kind: str) -> list[str]:
    top, middle = _edge(floor, "t"), (left + right) / 2
    width = right - left
    return [
        f'<rect x="{left}" y="{top}" width="{width}" height="{BOX}" rx="5" class="{kind}" stroke-width="1.6"/>',
        _text(middle, top + 19, name, "ink", 14, more=' font-weight="bold" xml:space="preserve"'),
        _text(middle, top + 36, note, "muted", 11.5),
    ]


def _arrow(points: list[tuple[int, int, str]]) -> str:
    (x0, f0, e0), (x1, f1, e1) = points
    y0, y1 = _edge(f0, e0), _edge(f1, e1)
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    x2, y2 = x1 - 8 * dx, y1 - 8 * dy
    wing = f"{x2 + 5 * dy},{y2 + 5 * dx} {x2 - 5 * dy},{y2 - 5 * dx}"
    return (
        f'<line x1="{x0}" y1="{y0}" x2="{x2}" y2="{y2}" class="line" stroke-width="1.8"/>'
        f'<polygon points="{x1},{y1} {wing}" class="head"/>'
    )


def picture(theme: str) -> str:
    """The whole picture as SVG text; ``theme`` is paper or screen."""
    high = floor_top(0) + HIGH + TOP
    said = "The floors of the package from bottom to top, and how sites, prompts and edits become a report and a page"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high}" width="{WIDE}" height="{high}" '
        f'role="img" font-family="system-ui, DejaVu Sans, Helvetica, Arial, sans-serif">',
        f"<title>{said}</title><style>{_colours(theme)}</style>",
        f'<rect width="{WIDE}" height="{high}" class="paper"/>',
        *(line for number, names in enumerate(FLOORS) for line in _floor(number, names)),
        *(_arrow(arrow) for arrow in ARROWS),
        *(line for box in BOXES for line in _box(*box)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    for theme in ("paper", "screen"):
        (HERE / f"architecture.{theme}.svg").write_text(picture(theme), encoding="utf-8")

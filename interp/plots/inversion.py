"""``steered_answers`` and ``dissociation``: what steering does to the answer about harm, and to refusal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import panel_frame
from .named import dots_by_name
from .series import Point, has_values, limits, line, one_legend_entry_each, shuffled
from .themes import ROLES, SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

OUTCOMES = {
    "answer": "Answer about harm",
    "refusal, instruction": "Refusal, by request",
    "refusal, after it": "Refusal, after it",
}
DIRECTIONS = {"harm": "Harm direction", "refusal": "Refusal direction", "random": "Random directions"}


def steered_answers(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Each outcome by dose: harmless requests are steered up (right), harmful ones down (left).

    Random directions of the same length are the grey area that 95 % of them lie in.

    >>> from interp.provenance import Provenance
    >>> about = {"outcome": "answer", "direction": "harm", "at_home": True, "harmful": False}
    >>> rows = [about | {"coeff": d, "value": d / 3} for d in (0.0, 1.0, 2.0)]
    >>> made = Report("inversion", "Steering", "It flips.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in steered_answers(made, theme="paper").data]
    ['Harm direction']

    Raises:
        ReportError: the report is not of kind "inversion".
    """
    import plotly.graph_objects as go

    if report.kind != "inversion":
        raise ReportError(f"steered_answers draws reports of kind 'inversion', not {report.kind!r}")
    theme = get_theme(theme)
    outcomes = [o for o in OUTCOMES if any(row.get("outcome") == o for row in report.rows)]
    frame = panel_frame(theme, [OUTCOMES[o] for o in outcomes], width, own_y=True)
    figure = go.Figure()
    ticks = []
    for panel, outcome in zip(frame.panels, outcomes, strict=True):
        rows = [r for r in report.rows if r.get("outcome") == outcome and r.get("at_home")]
        for trace in _traces(rows, theme):
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
        most = max((abs(float(r["coeff"])) for r in rows), default=1.0)
        step = 1 if most >= 2 else 0.5
        places = [k * step for k in range(-math.floor(most / step), math.floor(most / step) + 1)]
        ticks.append(((-1.08 * most, 1.08 * most), places, [f"{v:g}" for v in places]))
    one_legend_entry_each(figure)
    reach = [limits(figure, panel.y) for panel in frame.panels]
    frame.apply(figure, report.title, "Dose", [""] * len(outcomes), ticks, reach)
    return figure


def _traces(rows: Sequence[Mapping[str, Any]], theme: Theme) -> list[Any]:
    """The grey area of random directions, then a line for each direction and side."""
    traces = []
    for number, (direction, name) in enumerate(DIRECTIONS.items()):
        for side in (True, False):
            own = [r for r in rows if r.get("direction") == direction and r.get("harmful") == side]
            points = sorted(
                (Point(float(r["coeff"]), f"{name}, dose {r['coeff']:g}", r) for r in own), key=lambda p: p.x
            )
            if not points:
                continue
            if direction == "random":
                low, high = ([p.value(f"value_{end}") for p in points] for end in ("lo", "hi"))
                if has_values(points, "value_lo"):
                    traces.insert(0, shuffled(points, low, high, f"{name}, 95 %", reach=0.0))
            else:
                traces.append(line(points, "value", name, SERIES[number], theme, rank=number, whiskers=True))
    return traces


def dissociation(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """How far each direction moves each outcome at the chosen dose, with its interval.

    >>> from interp.provenance import Provenance
    >>> rows = [{"outcome": "answer", "direction": d, "effect": e} for d, e in (("harm", 2.0), ("refusal", 0.0))]
    >>> made = Report("dissociation", "Dissociation", "Two things.", rows, Provenance("a1", "tiny"))
    >>> len(dissociation(made, theme="paper").data)
    2

    Raises:
        ReportError: the report is not of kind "dissociation".
    """
    if report.kind != "dissociation":
        raise ReportError(f"dissociation draws reports of kind 'dissociation', not {report.kind!r}")
    panels = {}
    for outcome, title in OUTCOMES.items():
        best: dict[str, Mapping[str, Any]] = {}
        for row in report.rows:
            name = str(row.get("direction"))
            if row.get("outcome") == outcome and (name not in best or row["effect"] > best[name]["effect"]):
                best[name] = row
        if best:
            panels[title] = list(best.values())
    names = {d: text.split()[0] for d, text in DIRECTIONS.items()}
    there = {d: text for d, text in names.items() if any(r.get("direction") == d for r in report.rows)}
    one: dict[Any, tuple[str, Style]] = {None: ("Effect", ROLES["result"])}
    title = "Moved to the other side"
    return dots_by_name(report, panels, there, "direction", "effect", one, None, title, get_theme(theme), width)

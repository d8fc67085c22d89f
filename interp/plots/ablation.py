"""``heads_against_random``: what taking chosen heads out does, beside as many random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ReportError
from ..report import Report
from .frame import panel_frame
from .series import Point, interval_words, limits, line, one_legend_entry_each
from .themes import ROLES, SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_CHOSEN, _RANDOM = SERIES[0], Style("muted", "solid", "circle-open", 0.8)


def heads_against_random(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Change of the refusal score, and share refused, by how many heads are out; random heads in grey.

    Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"heads": n, "effect": n / 2, "random": 0.0, "refused_after": 0.9} for n in (1, 3)]
    >>> made = Report("cliff-ablation", "Ablated", "It refuses again.", rows, Provenance("a1", "tiny"))
    >>> sorted({trace.name for trace in heads_against_random(made, theme="paper").data})
    ['Lowest heads', 'Random heads']

    Raises:
        ReportError: the report is not of kind "cliff-ablation", or holds no rows.
    """
    import plotly.graph_objects as go

    if report.kind != "cliff-ablation" or not report.rows:
        raise ReportError(f"heads_against_random draws reports of kind 'cliff-ablation' with rows, not {report.kind!r}")
    theme = get_theme(theme)
    rows = sorted(report.rows, key=lambda row: row["heads"])
    unit = str(report.meta.get("unit", "refusal score"))
    frame = panel_frame(theme, [f"Change: {unit}", "Refused, share of requests"], width, own_y=True)
    figure = go.Figure()
    points = [Point(float(i), f"{row['heads']} heads", row) for i, row in enumerate(rows)]
    panels = (
        (frame.panels[0], ("effect", "random")),
        (frame.panels[1], ("refused_after", "random_refused", "refused_before")),
    )
    for panel, fields in panels:
        for field in fields:
            if field not in report.columns:
                continue
            name, style, rank = _look(field)
            trace = line(points, field, name, style, theme, rank=rank, whiskers=True)
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
    one_legend_entry_each(figure)
    figure.data[0].name += interval_words(report, points, "effect")
    low, high = limits(figure, frame.panels[1].y)
    ranges = [limits(figure, frame.panels[0].y), (min(low, -0.03), max(high, 1.03))]
    places, texts = [point.x for point in points], [str(row["heads"]) for row in rows]
    ticks = [((-0.5, len(rows) - 0.5), places, texts)] * 2
    frame.apply(figure, report.title, "Heads taken out", ["", ""], ticks, ranges)
    return figure


def _look(field: str) -> tuple[str, Style, int]:
    if field in ("effect", "refused_after"):
        return "Lowest heads", _CHOSEN, 0
    if field == "refused_before":
        return "No head taken out", ROLES["chance"], 2
    return "Random heads", _RANDOM, 1

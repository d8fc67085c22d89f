"""``refusal_trajectory``: the refusal score over the thinking, by kind of prompt, and how far it falls at the end."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, Panel, panel_frame
from .series import Point, band, interval_words, line, lines_on_top, one_legend_entry_each
from .themes import PALETTE, SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_LOOKS = {
    "harmful, answered": SERIES[0],
    "harmful, refused": SERIES[1],
    "harmless, answered": SERIES[2],
    "harmless, refused": SERIES[3],
}
_LEAST = 3  # prompts behind a point


def refusal_trajectory(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Mean refusal score by tokens before the answer, one line per kind of prompt, with the template's tokens shaded.

    Places that fewer than three prompts have are left out. A bracket at the right shows the mean cliff of harmful
    prompts that are answered. Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> path = [{"class": "harmful, answered", "place": -p, "score": 0.9, "n": 5} for p in range(9)]
    >>> made = Report("cliff", "Cliff", "It falls.", [], Provenance("a1", "tiny"), meta={"trajectory": path})
    >>> [trace.name for trace in refusal_trajectory(made, theme="paper").data]
    ['Harmful, answered']

    Raises:
        ReportError: the report is not of kind "cliff".
    """
    import plotly.graph_objects as go

    if report.kind != "cliff":
        raise ReportError(f"refusal_trajectory draws reports of kind 'cliff', not {report.kind!r}")
    paths = _paths(report)
    theme = get_theme(theme)
    frame = panel_frame(theme, [" "], width or theme.wide)  # a line for the word "template"
    figure = go.Figure()
    [panel] = frame.panels
    traces = []
    for rank, (kind, points) in enumerate(paths.items()):
        style, name = _LOOKS.get(kind, SERIES[4]), html.escape(kind[:1].upper() + kind[1:])
        name += interval_words(report, points, "score") if rank == 0 else ""
        traces += band(points, "score", style, name, 0.16)
        traces.append(line(points, "score", name, style, theme, rank=rank))
    for trace in lines_on_top(traces):
        figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
    one_legend_entry_each(figure)
    first = min((point.x for points in paths.values() for point in points), default=-8.0)
    frame.dress(figure, report.title)
    x = Axis((first - 0.6, 0.6 + 0.09 * max(-first, 8)), "Tokens before the answer", *_ticks(first), line=True)
    frame.draw_axes(figure, panel, x, Axis((-0.03, 1.03), "Refusal score", grid=True))
    _shade(figure, panel, report, theme)
    _bracket(figure, panel, report, first, theme)
    if not paths:
        figure.add_annotation(
            text="no prober of refusal, no trajectory", x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False
        )  # fmt: skip
    return figure


def _paths(report: Report) -> dict[str, list[Point]]:
    rows = report.meta.get("trajectory")
    found: dict[str, list[Point]] = {}
    for row in rows if isinstance(rows, list) else []:
        if row.get("n", 0) >= _LEAST:
            kind, place = str(row.get("class")), float(row["place"])
            found.setdefault(kind, []).append(Point(place, f"{kind}, {-place:g} before, {row['n']} prompts", row))
    return {kind: sorted(points, key=lambda p: p.x) for kind, points in found.items()}


def _ticks(first: float) -> tuple[list[float], list[str]]:
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if -first / s <= 8)
    places = [float(-step * k) for k in range(int(-first / step) + 1)]
    return places, [f"{abs(p):g}" for p in places]


def _shade(figure: Figure, panel: Panel, report: Report, theme: Theme) -> None:
    """The tokens between thinking and answer, which are the template's."""
    tokens = report.meta.get("template")
    if not isinstance(tokens, int) or tokens < 1:
        return
    figure.add_shape(
        type="rect", x0=0.5 - tokens, x1=0.5, y0=0, y1=1, xref=panel.x, yref=f"{panel.y} domain", line={"width": 0},
        layer="below", fillcolor=Style("band").faint(0.35),
    )  # fmt: skip
    figure.add_annotation(
        text="template", x=0.5, y=1, xref=panel.x, yref=f"{panel.y} domain", xanchor="right", yanchor="bottom",
        yshift=theme.font_size * 0.2, showarrow=False, font={"size": theme.font_size * 0.9, "color": PALETTE["muted"]},
    )  # fmt: skip


def _bracket(figure: Figure, panel: Panel, report: Report, first: float, theme: Theme) -> None:
    """From the plateau of the harmful prompts that are answered down to their final score."""
    row = next((r for r in report.rows if r.get("class") == "harmful, answered"), None)
    if row is None or not all(_number(row.get(k)) for k in ("plateau", "final")):
        return
    x = 0.5 + 0.025 * max(-first, 8)
    figure.add_shape(
        type="line", x0=x, x1=x, y0=row["final"], y1=row["plateau"], xref=panel.x, yref=panel.y,
        line={"color": _LOOKS["harmful, answered"].hex, "width": theme.line_width * 1.6},
    )  # fmt: skip
    figure.add_annotation(
        text="cliff", x=x, y=(row["final"] + row["plateau"]) / 2, xref=panel.x, yref=panel.y, xanchor="left",
        xshift=theme.font_size * 0.25, showarrow=False,
        font={"size": theme.font_size * 0.9, "color": _LOOKS["harmful, answered"].hex},
    )  # fmt: skip


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)

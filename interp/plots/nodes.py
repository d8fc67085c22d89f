"""``strongest_nodes``: the strongest nodes or neurons of a behaviour, one line each, with their intervals."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, Frame, rows_frame
from .series import Point, error_bar, hover
from .themes import PALETTE, ROLES, SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

KINDS = ("circuit-nodes", "circuit-neurons", "circuit-latents")
UNITS = {"logit_diff": "logits", "answer_logp": "nats", "kl": "nats", "prob_diff": "probability"}
_MOST = 24  # lines
_FAINT = 0.35


def strongest_nodes(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """What ablating each of the strongest nodes alone takes of the metric, by the estimate, the strongest first.

    A bar that works against the metric goes to the left; a mark is open where the interval crosses zero.
    Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> row = {"neuron": "m1.n7", "score": 0.5, "score_lo": 0.4, "score_hi": 0.6, "sure": True, "chosen": True}
    >>> made = Report("circuit-neurons", "Neurons", "One.", [row], Provenance("a1", "tiny"), meta={"unit": "neuron"})
    >>> [trace.name for trace in strongest_nodes(made, theme="paper").data]
    ['Interval clear of zero']

    Raises:
        ReportError: a report of another kind, or without rows.
    """
    import plotly.graph_objects as go

    if report.kind not in KINDS or not report.rows:
        raise ReportError(f"strongest_nodes draws reports of kind {' or '.join(KINDS)}, not {report.kind!r}")
    theme = get_theme(theme)
    unit = str(report.meta.get("unit", "node"))
    rows = report.rows[:_MOST]
    names = [html.escape(str(row[unit]), quote=False) for row in rows]
    frame = rows_frame(theme, [""], names, width or theme.width)
    height = theme.font_size * (1.55 * len(rows) + 0.8)
    frame = Frame(theme, frame.width, frame.panels, 1, height, frame.left)
    figure, [panel] = go.Figure(), frame.panels
    points = [Point(i, name, row) for i, (name, row) in enumerate(zip(names, rows, strict=True))]
    known = any(row.get("sure") is not None for row in rows)
    looks = (
        ("Interval clear of zero" if known else "Estimate", ROLES["result"], lambda row: row.get("sure") is not False),
        ("Interval crosses zero", Style(SERIES[0].color, symbol="circle-open"), lambda row: row.get("sure") is False),
    )
    for rank, (name, style, fits) in enumerate(looks):
        own = [p for p in points if fits(p.row)]
        if own:
            figure.add_trace(_dots(own, name, style, theme, rank))
    for point in points:
        figure.add_shape(_bar(point, theme))
    frame.dress(figure, report.title, left=frame.left, bottom=3.2)
    ends = [0.0, *(v for p in points for e in ("", "_lo", "_hi") if not math.isnan(v := p.value("score" + e)))]
    room = 0.05 * (max(ends) - min(ends)) or 1.0
    reach = (min(ends) - room, max(ends) + room)
    places = _ticks(*reach)
    metric = str(report.meta.get("metric", "metric"))
    title = f"Estimated loss, {UNITS[metric]}" if metric in UNITS else "Estimated loss"
    lines = Axis((len(names) - 0.4, -0.6), places=list(range(len(names))), texts=names)
    frame.draw_axes(figure, panel, Axis(reach, title, places, [_text(v) for v in places], grid=True, line=True), lines)
    figure.add_shape(
        type="line", x0=0, x1=0, y0=0, y1=1, xref=panel.x, yref=f"{panel.y} domain",
        line={"color": PALETTE["muted"], "width": theme.line_width * 0.5},
    )  # fmt: skip
    return figure


def _dots(points: list[Point], name: str, style: Style, theme: Theme, rank: int) -> Any:
    import plotly.graph_objects as go

    values = [p.value("score") for p in points]
    up = [p.value("score_hi") - v for p, v in zip(points, values, strict=True)]
    down = [v - p.value("score_lo") for p, v in zip(points, values, strict=True)]
    return go.Scatter(
        x=values, y=[p.x for p in points], mode="markers", name=name, legendgroup=name, legendrank=rank,
        marker={"color": style.hex, "symbol": style.symbol, "size": 0.8 * theme.marker_size}, hoverinfo="text",
        hovertext=[hover(p, "score") for p in points], cliponaxis=False,
        error_x=error_bar(up, down, style, theme) | {"width": theme.marker_size * 0.3},
    )  # fmt: skip


def _bar(point: Point, theme: Theme) -> dict[str, Any]:
    """From zero to the score; what was not chosen is pale."""
    value = point.value("score")
    return {
        "type": "rect", "x0": min(0.0, value), "x1": max(0.0, value), "y0": point.x - 0.3, "y1": point.x + 0.3,
        "xref": "x", "yref": "y", "layer": "below", "line": {"width": 0}, "fillcolor": PALETTE["sky"],
        "opacity": 0.5 if point.row.get("chosen", True) else 0.5 * _FAINT,
    }  # fmt: skip


def _ticks(low: float, high: float) -> list[float]:
    """Four to seven round numbers, however small the range."""
    raw = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(n * size for n in (1, 2, 5, 10) if n * size >= raw)
    return [round(k * step, 12) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _text(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")

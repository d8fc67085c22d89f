"""``faithfulness_curve`` and ``estimates_against_exact``: what circuits keep by size, and how good estimates are."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, panel_frame
from .series import Point, band, error_bar, hover, line, lines_on_top
from .themes import PALETTE, ROLES, SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Field, name, style, whether its interval is a band.
_CURVES = (
    ("faithfulness", "The circuit", ROLES["result"], True),
    ("complement", "All other {}s", SERIES[1], True),
    ("random", "Random {}s", ROLES["null_max"], False),
)
_GROUPS = (("top", "Strongest {}s", SERIES[0]), ("below", "Sample below", SERIES[1]))


def faithfulness_curve(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """What share of the metric circuits of growing size keep, beside the edges left over and random edges.

    Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"n_edges": n, "faithfulness": f, "complement": 1 - f} for n, f in ((1, 0.1), (10, 0.9), (100, 1.0))]
    >>> made = Report("circuit", "Circuits", "Ten edges do.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in faithfulness_curve(made, theme="paper").data]
    ['The circuit', 'All other edges']

    Raises:
        ReportError: the report is not of kind "circuit", or has no faithfulness.
    """
    import plotly.graph_objects as go

    if report.kind != "circuit" or "faithfulness" not in report.columns:
        raise ReportError(f"faithfulness_curve draws 'circuit' reports with faithfulness, not {report.kind!r}")
    theme = get_theme(theme)
    unit = str(report.meta.get("unit", "edge"))
    size = f"n_{unit}s"
    points = [Point(math.log10(row[size]), f"{row[size]} {unit}s", row) for row in report.rows]
    traces: list[Any] = []
    for rank, (field, name, style, banded) in enumerate(_CURVES):
        if field in report.columns:
            traces += band(points, field, style, name, 0.16) if banded else []
            traces.append(line(points, field, name.format(unit), style, theme, rank))
    figure = go.Figure(lines_on_top(traces))
    values = [v for p in points for f, *_ in _CURVES for e in ("", "_lo", "_hi") if not math.isnan(v := p.value(f + e))]
    # An interval may be far wider than what it is about.
    low, high = max(min(values), -1.0), min(max(values), 2.0)
    room = 0.05 * (high - low)
    frame = panel_frame(theme, [""], width)
    places, texts = _powers(points[0].x, points[-1].x)
    reach = (points[0].x - 0.08, points[-1].x + 0.08)
    frame.dress(figure, report.title)
    x = Axis(reach, f"{unit.capitalize()}s in the circuit", places, texts, line=True)
    frame.draw_axes(figure, frame.panels[0], x, Axis((low - room, high + room), "Share of the metric kept", grid=True))
    for level in (0.0, 1.0):
        figure.add_shape(
            type="line", x0=reach[0], x1=reach[1], y0=level, y1=level, xref="x", yref="y", layer="below",
            line={"color": PALETTE["muted"], "width": theme.line_width * 0.5},
        )  # fmt: skip
    return figure


def _powers(low: float, high: float) -> tuple[list[float], list[str]]:
    """Ticks of a logarithmic axis: 1, 2, 5 and their tens, or tens alone where there are many."""
    every = (1, 2, 5) if high - low < 2.2 else (1,)
    values = [n * 10**k for k in range(-1, 9) for n in every]
    shown = [v for v in values if low - 0.02 <= math.log10(v) <= high + 0.02]
    return [math.log10(v) for v in shown], [f"{v:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}") for v in shown]


def estimates_against_exact(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Each checked edge: its estimated score across, its exactly measured effect up. On the line the two are equal.

    >>> from interp.provenance import Provenance
    >>> rows = [{"edge": "input->m0", "group": "top", "estimated": 1.0, "exact": 1.1}]
    >>> made = Report("verification", "Exact", "They agree.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in estimates_against_exact(made, theme="paper").data]
    ['Strongest edges']

    Raises:
        ReportError: the report is not of kind "verification", or has no edges.
    """
    import plotly.graph_objects as go

    if report.kind != "verification" or not report.rows:
        raise ReportError(f"estimates_against_exact draws 'verification' reports with edges, not {report.kind!r}")
    theme = get_theme(theme)
    figure, unit = go.Figure(), str(report.meta.get("unit", "edge"))
    for rank, (group, name, style) in enumerate(_GROUPS):
        points = [
            Point(float(row["estimated"]), html.escape(str(row[unit]), quote=False), row)
            for row in report.rows
            if row["group"] == group
        ]
        if points:
            figure.add_trace(_cloud(points, name.format(unit), style, theme, rank))
    frame = panel_frame(theme, [""], width)
    x, y = (_reach([float(row[k]) for row in report.rows]) for k in ("estimated", "exact"))
    frame.dress(figure, report.title)
    metric = str(report.meta.get("metric", "metric")).replace("_", " ")
    frame.draw_axes(figure, frame.panels[0], Axis(x, f"Estimated loss of {metric}", line=True, grid=True),
                    Axis(y, "Measured exactly", grid=True))  # fmt: skip
    low, high = max(x[0], y[0]), min(x[1], y[1])
    if low < high:
        figure.add_shape(
            type="line", x0=low, x1=high, y0=low, y1=high, xref="x", yref="y", layer="below",
            line={"color": PALETTE["muted"], "width": theme.line_width * 0.5},
        )  # fmt: skip
    return figure


def _cloud(points: list[Point], name: str, style: Style, theme: Theme, rank: int) -> Any:
    import plotly.graph_objects as go

    values = [p.value("exact") for p in points]
    high = [p.value("exact_hi") - v for p, v in zip(points, values, strict=True)]
    low = [v - p.value("exact_lo") for p, v in zip(points, values, strict=True)]
    bars = {} if all(math.isnan(v) for v in high) else {"error_y": error_bar(high, low, style, theme) | {"width": 0}}
    return go.Scatter(
        x=[p.x for p in points], y=values, mode="markers", name=name, legendrank=rank, hoverinfo="text",
        marker={"color": style.hex, "symbol": style.symbol, "size": 0.8 * theme.marker_size},
        hovertext=[f"{hover(p, 'exact')}, estimated {p.x:.3g}" for p in points], **bars,
    )  # fmt: skip


def _reach(values: list[float]) -> tuple[float, float]:
    room = 0.06 * (max(values) - min(values)) or 1.0
    return min(values) - room, max(values) + room

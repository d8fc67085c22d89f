"""``belief_map`` and ``beliefs_by_category``: requests by what is believed of their harm and of their refusal."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from ..errors import ReportError
from ..report import Report
from .frame import panel_frame
from .named import dots_by_name
from .series import Point
from .themes import PALETTE, SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CELLS = {
    "harmful-refused": ("Refused harmful", Style("vermillion", symbol="circle")),
    "harmful-accepted": ("Accepted harmful", Style("orange", symbol="triangle-up-open")),
    "harmless-refused": ("Refused harmless", Style("purple", symbol="square-open")),
    "harmless-accepted": ("Accepted harmless", Style("blue", symbol="diamond")),
    "none": ("Failed jailbreaks and the like", Style("muted", symbol="x")),
}


def belief_map(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Every held-out request: harm belief at t_inst across, refusal belief at t_post up, by quadrant.

    >>> from interp.provenance import Provenance
    >>> rows = [{"id": "a", "cell": "harmful-refused", "harm_belief": 1.0, "refusal_belief": 0.9}]
    >>> made = Report("belief-map", "Map", "One request.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in belief_map(made, theme="paper").data]
    ['Refused harmful']

    Raises:
        ReportError: the report is not of kind "belief-map".
    """
    import plotly.graph_objects as go

    if report.kind != "belief-map":
        raise ReportError(f"belief_map draws reports of kind 'belief-map', not {report.kind!r}")
    theme = get_theme(theme)
    frame = panel_frame(theme, [""], width)
    figure = go.Figure()
    for rank, (cell, (name, style)) in enumerate(CELLS.items()):
        points = [Point(0.0, str(row.get("id")), row) for row in report.rows if row.get("cell") == cell]
        if not points:
            continue
        words = [f"{html.escape(p.name)}, {html.escape(str(p.row.get('category')))}" for p in points]
        figure.add_trace(
            go.Scatter(
                x=[p.value("harm_belief") for p in points], y=[p.value("refusal_belief") for p in points],
                mode="markers", name=name, legendrank=rank, hoverinfo="text", hovertext=words, opacity=0.75,
                marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size},
            )
        )  # fmt: skip
    across, up = (_reach(report, field) for field in ("harm_belief", "refusal_belief"))
    ticks = [t for t in (-2.0, -1.0, 0.0, 1.0, 2.0) if across[0] <= t <= across[1]]
    frame.apply(
        figure, report.title, "Belief about harm (t_inst)", "About refusal (t_post)",
        [(across, ticks, [f"{t:g}" for t in ticks])], up,
    )  # fmt: skip
    line = {"color": PALETTE["muted"], "width": theme.line_width * 0.5}
    look = {"type": "line", "line": line, "layer": "below", "xref": "x", "yref": "y"}
    figure.add_shape(x0=0, x1=0, y0=up[0], y1=up[1], **look)
    figure.add_shape(x0=across[0], x1=across[1], y0=0, y1=0, **look)
    return figure


def beliefs_by_category(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Mean beliefs of each category, at both positions.

    Raises:
        ReportError: the report is not of kind "belief-map", or has no means by category.
    """
    cells = report.meta.get("cells")
    if report.kind != "belief-map" or not isinstance(cells, list) or not cells:
        raise ReportError("beliefs_by_category draws reports of kind 'belief-map' that have means by category")
    rows, names = [], {}
    for row in cells:
        key = f"{row['role']}/{row['category']}"
        names[key] = row["category"] if row["category"] != "plain" else f"plain\n{row['role']}"
        for field in ("harm_belief", "refusal_belief"):
            value = {"belief" + end: row.get(field + end) for end in ("", "_lo", "_hi")}
            rows.append({"key": key, "what": field, **value})
    series = {
        "harm_belief": ("About harm (t_inst)", SERIES[0]),
        "refusal_belief": ("About refusal (t_post)", SERIES[1]),
    }
    theme = get_theme(theme)
    wide = width or theme.wide
    return dots_by_name(report, {"": rows}, names, "key", "belief", series, "what", "Mean belief", theme, wide)


def _reach(report: Report, field: str) -> tuple[float, float]:
    values = [float(row[field]) for row in report.rows if row.get(field) is not None] or [0.0]
    low, high = min(*values, 0.0), max(*values, 0.0)
    room = 0.06 * (high - low or 1)
    return low - room, high + room

"""``boundary_by_depth``: how far apart two kinds of requests lie, depth by depth, before and after a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from ..sites import Site
from .depths import depth_ticks
from .frame import panel_frame
from .series import Point, band, interval_words, level, limits, line, lines_on_top, one_legend_entry_each
from .themes import ROLES, SERIES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_PANELS = {"silhouette": "Silhouette", "margin": "Margin", "overlap": "Neighbours of the other kind"}
_SERIES = {"": ("Before", SERIES[0]), "_after": ("After", SERIES[1])}


def boundary_by_depth(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Silhouette, margin and overlap of harmful and safe requests by depth; after a change too, where there was one.

    >>> from interp.provenance import Provenance
    >>> rows = [{"site": f"resid_post.{i}", "silhouette": 0.1 * i, "margin": 0.5, "overlap": 0.0} for i in range(3)]
    >>> made = Report("boundary", "Boundary", "They are apart.", rows, Provenance("a1", "tiny"))
    >>> [note.text for note in boundary_by_depth(made, theme="paper").layout.annotations]
    ['<b>Silhouette</b>', '<b>Margin</b>', '<b>Neighbours of the other kind</b>']

    Raises:
        ReportError: the report is not of kind "boundary", or holds no rows.
    """
    import plotly.graph_objects as go

    if report.kind != "boundary" or not report.rows:
        raise ReportError(f"boundary_by_depth draws reports of kind 'boundary' with rows, not {report.kind!r}")
    theme = get_theme(theme)
    fields = [field for field in _PANELS if field in report.columns]
    frame = panel_frame(theme, [_PANELS[field] for field in fields], width, own_y=True)
    figure, ticks = go.Figure(), []
    several = any(f"{field}_after" in report.columns for field in fields)
    points = [_point(row) for row in report.rows]
    for panel, field in zip(frame.panels, fields, strict=True):
        ticks.append(depth_ticks(points, panel, theme))
        traces = [level(0.0, ticks[-1][0], "None", ROLES["chance"], theme, 9)] if field != "margin" else []
        for end, (name, style) in _SERIES.items():
            if f"{field}{end}" not in report.columns:
                continue
            called = (name if several else "Requests") + interval_words(report, points, f"{field}{end}")
            traces += band(points, f"{field}{end}", style, called, 0.18)
            traces.append(line(points, f"{field}{end}", called, style, theme, rank=1, p="p_max"))
        for trace in lines_on_top(traces):
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
    one_legend_entry_each(figure)
    frame.apply(figure, report.title, "Layer", [""] * len(fields), ticks, [limits(figure, p.y) for p in frame.panels])
    return figure


def _point(row: Any) -> Point:
    site = Site.parse(str(row.get("site")))
    return Point(float(-1 if site.layer is None else site.layer), str(site), row)

"""``project_out_by_depth``: what is read after one direction was taken out, and what that cost the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .depths import DEPTH_AXIS, depth_points, depth_ticks
from .frame import panel_frame
from .series import Point, aside, has_values, interval_words, level, limits, line, one_legend_entry_each, span
from .themes import PALETTE, ROLES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Field, name, look: what is read of the records, by what the direction had seen of them.
_READINGS = (
    ("before_auc", "Before", Style("muted", "solid", "circle-open", 0.7)),
    ("in_sample_auc", "In-sample (artefact)", Style("vermillion", "2px,2px", "x", 0.8)),
    ("nested_auc", "Nested", Style("orange", "6px,3px", "square-open")),
    ("fresh_auc", "Other half", Style("blue", "solid", "circle")),
)
_COSTS = (
    ("log_p_change", "Direction of the probe", ROLES["result"]),
    ("random_change", "Random directions", ROLES["untrained"]),
)


def project_out_by_depth(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """AUC after the probe's direction was projected out at each depth, and the records' loss of log probability.

    Below 0.5 is shaded: there a direction that saw the records which judge it has turned them round, which is no
    erasure. Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"depth": d, "nested_auc": 0.5, "log_p_change": -0.01} for d in range(1, 4)]
    >>> made = Report("project-out", "Projected out", "It costs little.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in project_out_by_depth(made, theme="paper").data]
    ['Chance', 'Nested', 'No change', 'Direction of the probe']

    Raises:
        ReportError: the report is not of kind "project-out", or has none of the readings.
    """
    import plotly.graph_objects as go

    if report.kind != "project-out":
        raise ReportError(f"project_out_by_depth draws reports of kind 'project-out', not {report.kind!r}")
    points = depth_points(report)
    read, paid = ([part for part in parts if has_values(points, part[0])] for parts in (_READINGS, _COSTS))
    if not read or not paid:
        known = ", ".join(field for field, _, _ in (*_READINGS, *_COSTS))
        raise ReportError(f"this 'project-out' report lacks a reading or a change to draw, of: {known}")
    theme = get_theme(theme)
    frame = panel_frame(theme, ["What is still read, AUC", "Change of log p, nats per token"], width, own_y=True)
    figure = go.Figure()
    chance = level(0.5, span(points), "Chance", ROLES["chance"], theme, 8)
    none = level(0.0, span(points), "No change", ROLES["chance"], theme, 9)
    none.showlegend = False
    for panel, parts, first, start in zip(frame.panels, (read, paid), (chance, none), (0, 5), strict=True):
        for trace in [first, *_lines(report, points, parts, theme, start)]:
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
    one_legend_entry_each(figure)
    ranges = [limits(figure, panel.y) for panel in frame.panels]
    ticks = [depth_ticks(points, panel, theme) for panel in frame.panels]
    frame.apply(figure, report.title, DEPTH_AXIS, ["", ""], ticks, ranges)
    if ranges[0][0] < 0.45:
        _shade(figure, frame.panels[0].x, frame.panels[0].y, ranges[0][0], theme.font_size)
    return figure


def _lines(
    report: Report, points: Sequence[Point], parts: Sequence[tuple[str, str, Style]], theme: Theme, rank: int
) -> list[Any]:
    traces = []
    for number, (field, name, style) in enumerate(parts):
        moved = [point.moved(aside(number, len(parts), 0.09)) for point in points]
        words = interval_words(report, points, field) if field in ("fresh_auc", "log_p_change") else ""
        traces.append(line(moved, field, name + words, style, theme, rank=rank + number, whiskers=True))
    return traces


def _shade(figure: Figure, x: str, y: str, low: float, size: float) -> None:
    figure.add_shape(
        type="rect", x0=0, x1=1, y0=low, y1=0.5, xref=f"{x} domain", yref=y, line={"width": 0}, layer="below",
        fillcolor=ROLES["untrained"].faint(0.09),
    )  # fmt: skip
    figure.add_annotation(
        text="below chance = artefact", x=1, y=0, xref=f"{x} domain", yref=f"{y} domain", xanchor="right",
        yanchor="bottom", xshift=-size * 0.3, showarrow=False, font={"size": size * 0.9, "color": PALETTE["muted"]},
    )  # fmt: skip

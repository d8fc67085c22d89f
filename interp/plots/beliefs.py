"""``beliefs_by_depth``: what a model tells apart at the end of the instruction and of the prompt, by depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .depths import DEPTH_AXIS, depth_points, depth_ticks
from .frame import panel_frame
from .series import (
    Point,
    band,
    has_values,
    interval_words,
    level,
    line,
    lines_on_top,
    one_legend_entry_each,
    shuffled,
    span,
)
from .themes import ROLES, SERIES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

READINGS = {
    "plain": "Harmful or harmless",
    "off-diagonal": "Accepted harmful or refused harmless",
    "harm": "Harmful or harmless, refusal held fixed",
    "refusal": "Refused or accepted, harm held fixed",
}
PLACES = {"t_inst": "End of the instruction", "t_post": "End of the prompt"}
_EFFECTS = {"harm": "With harm", "refusal": "With refusal"}


def beliefs_by_depth(
    report: Report, readings: Sequence[str] = ("plain",), theme: str | Theme = "screen", width: float | None = None
) -> Figure:
    """AUC of held-out requests by depth, a panel for each position, beside shuffled labels and every control.

    One reading is drawn with its nulls and controls; several are drawn beside one another.

    >>> from interp.provenance import Provenance
    >>> rows = [{"reading": "plain", "mark": "t_inst", "depth": d, "auc": 0.5 + d / 10} for d in range(4)]
    >>> made = Report("beliefs", "Beliefs", "Harm is told at t_inst.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in beliefs_by_depth(made, theme="paper").data]
    ['Chance', 'Harmful or harmless']

    Raises:
        ReportError: the report is not of kind "beliefs", or has none of the readings.
    """
    import plotly.graph_objects as go

    if report.kind != "beliefs":
        raise ReportError(f"beliefs_by_depth draws reports of kind 'beliefs', not {report.kind!r}")
    there = [r for r in readings if any(row.get("reading") == r for row in report.rows)]
    if not there:
        known = ", ".join(dict.fromkeys(str(row.get("reading")) for row in report.rows)) or "none"
        raise ReportError(f"this report has no reading {readings[0]!r} to draw; it has: {known}")
    theme = get_theme(theme)
    marks = list(dict.fromkeys(row.get("mark") for row in report.rows))
    frame = panel_frame(theme, [PLACES.get(str(m), str(m)) for m in marks], width)
    figure = go.Figure()
    drawn = []
    for panel, mark in zip(frame.panels, marks, strict=True):
        by_reading = {r: _points(report, reading=r, mark=mark) for r in there}
        every = [p for points in by_reading.values() for p in points]
        traces = [level(0.5, span(every), "Chance", ROLES["chance"], theme, 9)]
        if len(there) == 1:
            traces += _one(report, by_reading[there[0]], there[0], theme)
        else:
            for number, (reading, points) in enumerate(by_reading.items()):
                style, name = SERIES[number], READINGS.get(reading, reading)
                traces += band(points, "auc", style, name, 0.2)
                traces.append(line(points, "auc", name, style, theme, rank=number, group=name, p="p_family"))
        for trace in lines_on_top(traces):
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
        drawn.append(depth_ticks(every, panel, theme))
    one_legend_entry_each(figure)
    frame.apply(figure, report.title, DEPTH_AXIS, "AUC", drawn, (-0.03, 1.03) if _low(figure) else (0.37, 1.03))
    return figure


def effects_by_depth(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """What a belief owes to harm and what to refusal, the other held fixed, by depth, a panel for each position.

    >>> from interp.provenance import Provenance
    >>> rows = [{"mark": "t_inst", "depth": d, "harm": d / 3, "refusal": 0.0} for d in range(4)]
    >>> made = Report("belief-regression", "Beliefs", "All harm.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in effects_by_depth(made, theme="paper").data]
    ['Nothing', 'With harm', 'With refusal']

    Raises:
        ReportError: the report is not of kind "belief-regression".
    """
    import plotly.graph_objects as go

    if report.kind != "belief-regression":
        raise ReportError(f"effects_by_depth draws reports of kind 'belief-regression', not {report.kind!r}")
    theme = get_theme(theme)
    marks = list(dict.fromkeys(row.get("mark") for row in report.rows))
    frame = panel_frame(theme, [PLACES.get(str(m), str(m)) for m in marks], width)
    figure = go.Figure()
    ticks, ends = [], [0.0]
    for panel, mark in zip(frame.panels, marks, strict=True):
        points = _points(report, mark=mark)
        traces = [level(0.0, span(points), "Nothing", ROLES["chance"], theme, 9)]
        for number, (field, name) in enumerate(_EFFECTS.items()):
            style = SERIES[number]
            traces += band(points, field, style, name, 0.2)
            shown = name + interval_words(report, points, field)
            traces.append(line(points, field, shown, style, theme, rank=number, group=name))
            if has_values(points, f"untrained_{field}"):
                bare = line(points, f"untrained_{field}", "Untrained", ROLES["untrained"], theme, rank=6)
                traces.append(bare.update(opacity=0.7))
            ends += [v for p in points for end in ("", "_lo", "_hi") if not math.isnan(v := p.value(field + end))]
        for trace in lines_on_top(traces):
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
        ticks.append(depth_ticks(points, panel, theme))
    one_legend_entry_each(figure)
    room = 0.06 * (max(ends) - min(ends) or 1)
    frame.apply(figure, report.title, DEPTH_AXIS, "Part of the belief", ticks, (min(ends) - room, max(ends) + room))
    return figure


def _points(report: Report, **fields: Any) -> list[Point]:
    """Rows by depth; the mean over depths is no depth."""
    rows = [row for row in report.rows if row.get("depth") is not None]
    some = Report(report.kind, report.title, report.headline, rows, report.provenance, meta=report.meta)
    return depth_points(some, **fields)


def _one(report: Report, points: list[Point], reading: str, theme: Theme) -> list[Any]:
    """One reading with its nulls and controls, back to front."""
    traces = []
    if has_values(points, "null_auc_hi"):
        low, high = ([p.value(f"null_auc_{end}") for p in points] for end in ("lo", "hi"))
        traces.append(shuffled(points, low, high, "Shuffled, 5\N{EN DASH}95 %"))
    for rank, field, name, role in (
        (4, "bow_auc", "Bag of tokens", "baseline"),
        (5, "surface_auc", "Lengths and last tokens", "baseline_2"),
    ):
        if has_values(points, field):
            traces.append(level(points[0].value(field), span(points), name, ROLES[role], theme, rank))
    if has_values(points, "untrained_auc"):
        traces.append(line(points, "untrained_auc", "Untrained", ROLES["untrained"], theme, rank=2))
    name = READINGS.get(reading, reading)
    traces += band(points, "auc", ROLES["result"], name, 0.22)
    shown = name + interval_words(report, points, "auc")
    traces.append(line(points, "auc", shown, ROLES["result"], theme, rank=1, group=name, p="p_family"))
    return traces


def _low(figure: Figure) -> bool:
    values = [v for trace in figure.data for v in trace.y if v is not None]
    return min(values, default=0.5) < 0.37

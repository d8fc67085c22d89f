"""``erasure_verdicts``: for every eraser, what can still be read, and what erasing paid in recall, loss and KL."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, Frame, Panel, rows_frame
from .series import Point, error_bar, has_values, hover, one_legend_entry_each
from .themes import PALETTE, ROLES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Field, name in the legend, style: from what proves nothing to what counts.
_READINGS = (
    ("in_sample_auc", "In-sample", Style("muted", symbol="x")),
    ("in_sample_acc", "In-sample (accuracy)", Style("muted", symbol="x")),
    ("nested_auc", "Nested", Style("orange", symbol="square-open")),
    ("fresh_auc", "Other half", Style("blue", symbol="circle")),
    ("attack_auc", "Best attacker", Style("vermillion", symbol="diamond")),
)


@dataclass(frozen=True)
class _Cost:
    """One of the small panels: where each eraser ends, and where the model was before."""

    after: str
    before: str | None
    title: str


_COSTS = (
    _Cost("exact_after", "exact_before", "Recited exactly"),
    _Cost("log_p_after", "log_p_before", "Log p of records"),
    _Cost("loss_after", "loss_before", "Loss, other text"),
    _Cost("kl", None, "KL, other text"),
)
_AFTER = Style("green", symbol="square")
_BEFORE = Style("muted", symbol="circle-open")


def erasure_verdicts(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """One line per eraser: the readings of what is left, then recall, log probability, loss and KL, before and after.

    Below 0.5 is shaded: there a probe that saw the eraser's own rows is wrong by construction, which is no erasure.
    What a report lacks is left out; nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"method": "none", "nested_auc": 0.7}, {"method": "leace", "rank": 1, "nested_auc": 0.5}]
    >>> made = Report("erasure", "Erasure", "LEACE hides it from one probe.", rows, Provenance("a1", "tiny"))
    >>> list(erasure_verdicts(made, theme="paper").layout.yaxis.ticktext)
    ['none', 'leace, rank 1']

    Raises:
        ReportError: the report is not of kind "erasure", or has none of the readings.
    """
    import plotly.graph_objects as go

    if report.kind != "erasure":
        raise ReportError(f"erasure_verdicts draws reports of kind 'erasure', not {report.kind!r}")
    if not any(field in report.columns for field, _, _ in _READINGS):
        raise ReportError(f"this 'erasure' report has none of: {', '.join(field for field, _, _ in _READINGS)}")
    theme = get_theme(theme)
    names = [eraser_name(row) for row in report.rows]
    points = [Point(float(i), name, row) for i, (name, row) in enumerate(zip(names, report.rows, strict=True))]
    costs = [cost for cost in _COSTS if cost.after in report.columns]
    frame = rows_frame(theme, ["What can still be read, AUC", *(c.title for c in costs)], names, width)
    figure = go.Figure()
    ranges = [_add_readings(figure, points, frame.panels[0], theme)]
    for panel, cost in zip(frame.panels[1:], costs, strict=True):
        ranges.append(_add_cost(figure, points, cost, panel, theme))
    one_legend_entry_each(figure)
    frame.dress(figure, report.title, left=frame.left, bottom=2.4)
    for panel, reach in zip(frame.panels, ranges, strict=True):
        most = max(3, int(panel.width / (3.6 * theme.font_size)))
        across = Axis(reach, grid=True, line=True, most=most)
        lines, reach_y = [p.x for p in points], (len(points) - 0.15, -0.6)
        rows = Axis(reach_y, places=lines, texts=names, grid=True, labelled=panel.column == 0)
        frame.draw_axes(figure, panel, across, rows)
    _shade_artefact(figure, frame, ranges[0])
    return figure


def eraser_name(row: Any) -> str:
    """What an eraser is called on the axis: its method, its rank where it has one, and where it is not a projection."""
    name = html.escape(str(row.get("method")))
    rank = row.get("rank")
    if isinstance(rank, int) and rank > 0:
        name += f", rank {rank}"
    where = row.get("where")
    return f"{name}, {html.escape(str(where))}" if where not in (None, "activations", "model") else name


def _add_readings(figure: Figure, points: Sequence[Point], panel: Panel, theme: Theme) -> tuple[float, float]:
    here = [reading for reading in _READINGS if has_values(points, reading[0])]
    if {"in_sample_auc", "in_sample_acc"} <= {field for field, _, _ in here}:
        here = [reading for reading in here if reading[0] != "in_sample_acc"]
    ends = [0.5]
    for number, (field, name, style) in enumerate(here):
        shift = (number - (len(here) - 1) / 2) * 0.62 / max(len(here), 1)
        trace = _dots(points, field, name, style, theme, shift, rank=number)
        if field == "attack_auc":
            trace.hovertext = [f"{_about(p)}{hover(p, field, 'attack_p')}" for p in points]
        figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
        for end in ("", "_lo", "_hi"):
            ends += [v for p in points if not math.isnan(v := p.value(field + end))]
    _add_chance(figure, points, panel, theme)
    ends += [v for p in points if not math.isnan(v := p.value("chance_auc"))]
    room = 0.04 * (max(ends) - min(ends) or 1)
    return min(ends) - room, max(ends) + room


def _about(point: Point) -> str:
    attack = point.row.get("attack")
    return f"{html.escape(str(attack))}, " if attack else ""


def _add_chance(figure: Figure, points: Sequence[Point], panel: Panel, theme: Theme) -> None:
    """What the best attacker reaches on shuffled labels, as a grey bar behind each eraser."""
    import plotly.graph_objects as go

    name = "Best attacker, shuffled labels"
    for point in points:
        low, high = point.value("chance_auc_lo"), point.value("chance_auc")
        if math.isnan(high):
            continue
        low = 0.5 if math.isnan(low) else low
        x, y = [low, high, high, low, low], [point.x + s for s in (-0.42, -0.42, 0.42, 0.42, -0.42)]
        box = go.Scatter(
            x=x, y=y, mode="lines", line_width=0, fill="toself", fillcolor=ROLES["null"].faint(0.55), name=name,
            legendgroup="null", legendrank=8, hoverinfo="skip",
        )  # fmt: skip
        figure.add_trace(box.update(xaxis=panel.x, yaxis=panel.y))


def _add_cost(figure: Figure, points: Sequence[Point], cost: _Cost, panel: Panel, theme: Theme) -> tuple[float, float]:
    """A dot where the eraser ends, joined to where the model was before."""
    import plotly.graph_objects as go

    after = [p.value(cost.after) for p in points]
    before = [p.value(cost.before) if cost.before else 0.0 for p in points]
    xs: list[float | None] = []
    ys: list[float | None] = []
    for point, start, end in zip(points, before, after, strict=True):
        if not math.isnan(start) and not math.isnan(end):
            xs += [start, end, None]
            ys += [point.x, point.x, None]
    stem = go.Scatter(
        x=xs, y=ys, mode="lines", line={"color": PALETTE["band"], "width": theme.line_width * 1.6}, showlegend=False,
        hoverinfo="skip", legendgroup="after",
    )  # fmt: skip
    figure.add_trace(stem.update(xaxis=panel.x, yaxis=panel.y))
    if cost.before is not None:
        trace = _dots(points, cost.before, "Before", _BEFORE, theme, 0.0, rank=20)
        figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
    trace = _dots(points, cost.after, "After", _AFTER, theme, 0.0, rank=21)
    figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
    values = [v for v in (*before, *after) if not math.isnan(v)] or [0.0, 1.0]
    low, high = min(values), max(values)
    room = 0.1 * (high - low) or 0.05
    return low - room, high + room


def _dots(points: Sequence[Point], field: str, name: str, style: Style, theme: Theme, shift: float, rank: int) -> Any:
    """One marker per eraser with its interval, a little above or below the middle of its line."""
    import plotly.graph_objects as go

    values = [p.value(field) for p in points]
    trace = go.Scatter(
        x=[None if math.isnan(v) else v for v in values],
        y=[p.x + shift for p in points],
        mode="markers",
        marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size},
        name=name,
        legendgroup=name,
        legendrank=rank,
        hoverinfo="text",
        hovertext=[hover(p, field) for p in points],
        cliponaxis=False,
    )
    up = [p.value(f"{field}_hi") - v for p, v in zip(points, values, strict=True)]
    down = [v - p.value(f"{field}_lo") for p, v in zip(points, values, strict=True)]
    if any(not math.isnan(v) for v in up):
        trace.error_x = error_bar(up, down, style, theme) | {"width": theme.marker_size * 0.3}
    return trace


def _shade_artefact(figure: Figure, frame: Frame, reach: tuple[float, float]) -> None:
    panel, size = frame.panels[0], frame.theme.font_size
    where = {"xref": panel.x, "yref": f"{panel.y} domain", "y0": 0, "y1": 1}
    line = {"color": PALETTE["muted"], "width": frame.theme.line_width * 0.5}
    figure.add_shape(type="line", x0=0.5, x1=0.5, line=line, layer="below", **where)
    if reach[0] < 0.45:
        figure.add_shape(type="rect", x0=reach[0], x1=0.5, line={"width": 0}, layer="below",
                         fillcolor=ROLES["untrained"].faint(0.09), **where)  # fmt: skip
        figure.add_annotation(
            text="below chance = artefact", x=0.5, y=0, xref=panel.x, yref=f"{panel.y} domain", xanchor="right",
            yanchor="bottom", xshift=-size * 0.3, yshift=size * 0.1, showarrow=False,
            font={"size": size * 0.9, "color": PALETTE["muted"]},
        )  # fmt: skip

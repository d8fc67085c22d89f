"""Dots with whiskers over a few names: a panel per question, a place per name, a colour per series."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..report import Report
from .frame import Ticks, panel_frame
from .series import Point, aside, error_bar, hover, level, limits, one_legend_entry_each
from .themes import ROLES, Style, Theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def dots_by_name(
    report: Report, panels: Mapping[str, Sequence[Mapping[str, Any]]], names: Mapping[str, str], key: str, field: str,
    series: Mapping[Any, tuple[str, Style]], by: str | None, y_title: str, theme: Theme, width: float | None = None,
    zero: float | None = 0.0, whiskers: Mapping[Any, tuple[str, str]] | None = None,
) -> Figure:  # fmt: skip
    """Rows as dots: ``names`` are the places (values of ``key``, with what to call them), ``by`` picks the series.

    ``whiskers`` replaces the fields of a series' interval.
    """
    import plotly.graph_objects as go

    frame = panel_frame(theme, [html.escape(title) for title in panels], width, own_y=True)
    figure = go.Figure()
    places = {value: float(i) for i, value in enumerate(names)}
    reach = (-0.5, len(names) - 0.5)
    ticks: list[Ticks] = []
    for panel, rows in zip(frame.panels, panels.values(), strict=True):
        if zero is not None:
            base = level(zero, reach, "Neither", ROLES["chance"], theme, 9)
            figure.add_trace(base.update(xaxis=panel.x, yaxis=panel.y, showlegend=False))
        for number, (value, (name, style)) in enumerate(series.items()):
            own = [row for row in rows if (by is None or row.get(by) == value) and row.get(key) in places]
            shift = aside(number, len(series), 0.18)
            points = [Point(places[row[key]] + shift, str(names[row[key]]), row) for row in own]
            trace = _dots(points, field, name, style, theme, number, (whiskers or {}).get(value))
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
        ticks.append(
            (reach, list(places.values()), [html.escape(text).replace("\n", "<br>") for text in names.values()])
        )
    one_legend_entry_each(figure)
    if len(series) == 1:
        figure.update_traces(showlegend=False)
    lines = 1 + max((text.count("\n") for text in names.values()), default=0)
    titles = [y_title if panel.column == 0 else "" for panel in frame.panels]
    frame.apply(figure, report.title, "", titles, ticks, [limits(figure)] * len(titles))
    if lines > 1:
        size = theme.font_size
        figure.update_layout(height=figure.layout.height + round(size * 1.2 * (lines - 1)))
        figure.update_layout(margin={"b": round(figure.layout.margin.b + size * 1.2 * (lines - 1))})
    return figure


def _dots(
    points: Sequence[Point], field: str, name: str, style: Style, theme: Theme, rank: int,
    ends: tuple[str, str] | None,
) -> Any:  # fmt: skip
    import plotly.graph_objects as go

    low_field, high_field = ends or (f"{field}_lo", f"{field}_hi")
    values = [p.value(field) for p in points]
    trace = go.Scatter(
        x=[p.x for p in points], y=[None if math.isnan(v) else v for v in values], mode="markers", name=name,
        marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size * 1.15}, legendgroup=name,
        legendrank=rank, hoverinfo="text", hovertext=[f"{name}, {hover(p, field)}" for p in points], cliponaxis=False,
    )  # fmt: skip
    up = [p.value(high_field) - v for p, v in zip(points, values, strict=True)]
    down = [v - p.value(low_field) for p, v in zip(points, values, strict=True)]
    if any(not math.isnan(v) for v in up):
        trace.error_y = error_bar(up, down, style, theme)
    return trace

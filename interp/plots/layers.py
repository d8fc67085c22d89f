"""``accuracy_by_layer``: how well each layer can be read, beside everything that the same reading finds by luck."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ReportError, SiteError
from ..report import Report
from ..sites import SITES, Site
from .frame import Panel, panel_frame
from .series import (
    BAND_FROM,
    Point,
    aside,
    band,
    has_values,
    interval_words,
    level,
    limits,
    line,
    lines_on_top,
    one_legend_entry_each,
    shuffled,
    span,
)
from .themes import ROLES, SERIES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

METRICS = {"auc": "AUC", "acc": "Accuracy"}
READERS = {"probe": "Probe", "direction": "Direction"}  # kind of report -> what its line is called


def accuracy_by_layer(
    report: Report, metric: str = "auc", theme: str | Theme = "screen", width: float | None = None
) -> Figure:
    """AUC or accuracy by layer with its interval, and the nulls and controls that the report holds.

    One panel per kind of site. What a report lacks is left out; nothing is computed here. ``width`` in CSS pixels
    replaces the theme's (paper: 3.3 in for one panel, 6.75 in for more).

    >>> from interp.provenance import Provenance
    >>> rows = [{"site": f"resid_post.{i}", "auc": 0.5 + i / 10} for i in range(4)]
    >>> made = Report("probe", "Number", "It is read best at the end.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in accuracy_by_layer(made, theme="paper").data]
    ['Probe']

    Raises:
        ReportError: the report is not of kind "probe" or "direction", or no row has the metric.
    """
    import plotly.graph_objects as go

    if report.kind not in READERS:
        raise ReportError(f"accuracy_by_layer draws reports of kind 'probe' or 'direction', not {report.kind!r}")
    if metric not in METRICS or (report.rows and metric not in report.columns):
        have = [m for m in METRICS if m in report.columns]
        raise ReportError(f"this report has no metric {metric!r} to draw; it has: {', '.join(have) or 'none'}")
    theme = get_theme(theme)
    groups = _group(report)
    frame = panel_frame(theme, [panel_title(kind) if len(groups) > 1 else "" for kind in groups], width)
    figure = go.Figure()
    for panel, sites in zip(frame.panels, groups.values(), strict=True):
        for trace in _panel_traces(report, sites, metric, theme):
            trace.update(xaxis=panel.x, yaxis=panel.y)
            figure.add_trace(trace)
    one_legend_entry_each(figure)
    ticks = [_ticks(sites, panel, theme) for panel, sites in zip(frame.panels, groups.values(), strict=True)]
    frame.apply(figure, report.title, "Layer", METRICS[metric], ticks, limits(figure))
    if not report.rows:
        figure.add_annotation(
            text="no sites in this report", x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, bgcolor="#ffffff"
        )
    return figure


@dataclass(frozen=True)
class _Point(Point):
    """One row with its place on the layer axis."""

    site: Site


def panel_title(kind: str) -> str:
    """What a panel of one kind of site is called."""
    return html.escape(kind)


def _group(report: Report) -> dict[str, list[_Point]]:
    """Rows by kind of site, in the order of a forward pass, each with its place on the layer axis."""
    sites = []
    for number, row in enumerate(report.rows):
        try:
            sites.append((Site.parse(str(row.get("site"))), row))
        except SiteError as error:
            raise ReportError(f"row {number}: {error}") from error
    kinds = sorted({s.kind for s, _ in sites}, key=list(SITES).index)
    layered = [k for k in kinds if SITES[k].layered]
    # The embedding and the logits are the two ends of the residual stream's panel, when there is one.
    host = next((k for k in layered if k.startswith("resid")), layered[0] if layered else None)
    last = max((s.layer for s, _ in sites if s.layer is not None), default=-1)
    groups: dict[str, list[_Point]] = {}
    for site, row in sites:
        kind = site.kind if SITES[site.kind].layered or host is None else host
        x = site.layer if site.layer is not None else last + 1 if site.kind == "logits" else -1
        groups.setdefault(kind, []).append(_Point(x, str(row.get("site")), row, site))
    return {
        k: sorted(groups[k], key=lambda p: (p.x, -1 if p.site.head is None else p.site.head))
        for k in kinds
        if k in groups
    } or {"": []}


def _panel_traces(report: Report, points: list[_Point], metric: str, theme: Theme) -> list[Any]:
    """Everything in one panel, back to front."""
    series: dict[str, list[_Point]] = {}
    for point in points:
        series.setdefault(_series_name(point), []).append(point)
    traces = _null_traces(report, points, metric, theme, alone=len(series) == 1)
    if len(series) > 1:
        return traces + _several(series, metric, theme)
    if has_values(points, f"untrained_{metric}"):
        style, field = ROLES["untrained"], f"untrained_{metric}"
        # Few layers have whiskers instead of bands, and whiskers on one another cannot be read.
        control = [point.moved(0.05 if len(points) < BAND_FROM else 0.0) for point in points]
        traces += band(control, field, style, "untrained", 0.13)
        traces.append(line(control, field, "Untrained", style, theme, rank=2, group="untrained"))
    style = ROLES["result"]
    traces += band(points, metric, style, "result", 0.22)
    name = READERS[report.kind] + interval_words(report, points, metric)
    traces.append(line(points, metric, name, style, theme, rank=1, group="result", p="p_max"))
    return lines_on_top(traces)


def _several(series: dict[str, list[_Point]], metric: str, theme: Theme) -> list[Any]:
    """Several results in one panel: side by side with whiskers, or, when they are too many to tell apart, as dots."""
    if len(series) > len(SERIES):
        points = [point for own in series.values() for point in own]
        dots = line(points, metric, f"Probe, {len(series)} per layer", ROLES["result"], theme, rank=1, p="p_max")
        dots.update(mode="markers", marker_opacity=0.6, error_y=None)
        return [dots]
    traces = []
    for number, ((name, own), style) in enumerate(zip(series.items(), SERIES, strict=False)):
        moved = [point.moved(aside(number, len(series))) for point in own]
        traces.append(line(moved, metric, name, style, theme, rank=1, whiskers=True, p="p_max"))
    return traces


def _series_name(point: _Point) -> str:
    parts = [f"head {point.site.head}"] if point.site.head is not None else []
    parts += [html.escape(str(point.row["mark"]))] if point.row.get("mark") else []
    return ", ".join(parts) or "Probe"


def _null_traces(report: Report, points: list[_Point], metric: str, theme: Theme, alone: bool) -> list[Any]:
    """What luck alone finds: chance, shuffled labels, and baselines that never saw the model."""
    traces = []
    chance = report.meta.get(f"chance_{metric}")
    high = [p.value(f"null_{metric}_hi") for p in points]
    if alone and any(not math.isnan(v) for v in high):
        low = [p.value(f"null_{metric}_lo") for p in points]
        name = "Shuffled, 95 %" if all(map(math.isnan, low)) else "Shuffled, 5–95 %"
        low = [
            (chance if isinstance(chance, (int, float)) else h) if math.isnan(v) else v
            for v, h in zip(low, high, strict=True)
        ]
        traces.append(shuffled(points, low, high, name))
    lines = [
        (8, chance, "Chance", ROLES["chance"]),
        (7, report.meta.get(f"null_max_{metric}_95"), "Shuffled, best site", ROLES["null_max"]),
        (4, report.meta.get(f"baseline_bow_{metric}"), "Bag of tokens", ROLES["baseline"]),
        (5, report.meta.get(f"baseline_last_token_{metric}"), "Last token", ROLES["baseline_2"]),
    ]
    for rank, value, name, style in lines:
        if isinstance(value, (int, float)) and math.isfinite(value):
            traces.append(level(value, span(points), name, style, theme, rank))
    return traces


def _ticks(points: list[_Point], panel: Panel, theme: Theme) -> tuple[tuple[float, float], list[float], list[str]]:
    """Range, tick places and tick texts of the layer axis: whole layers, as many as fit."""
    low, high = span(points)
    layers = [p.x for p in points if p.site.layer is not None]
    most = max(int(panel.width / (2.4 * theme.font_size)), 2)
    top = int(max(layers, default=0))
    step = next(s for s in (1, 2, 4, 5, 10, 20, 50, 100, 200, 500, 10**6) if top // s + 1 <= most)
    places: list[float] = [float(v) for v in range(0, top + 1, step) if low < v < high]
    texts = [f"{v:g}" for v in places]
    for point in points:
        if point.site.layer is None and point.x not in places:
            places.append(point.x)
            texts.append(point.site.kind)
    return (low, high), places, texts


__all__ = ["METRICS", "accuracy_by_layer"]

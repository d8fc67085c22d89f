"""``accuracy_by_layer``: how well each layer can be read, beside everything that the same reading finds by luck."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ReportError, SiteError
from ..report import Report
from ..sites import SITES, Site
from .frame import Frame, Panel, panel_frame
from .themes import ROLES, SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

METRICS = {"auc": "AUC", "acc": "Accuracy"}
_BAND_FROM = 3  # points; with fewer, the interval is a whisker


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
        ReportError: the report is not of kind "probe", or no row has the metric.
    """
    import plotly.graph_objects as go

    if report.kind != "probe":
        raise ReportError(f"accuracy_by_layer draws reports of kind 'probe', not {report.kind!r}")
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
    _one_legend_entry_each(figure)
    ticks = [_ticks(sites, panel, theme) for panel, sites in zip(frame.panels, groups.values(), strict=True)]
    frame.apply(figure, report.title, "Layer", METRICS[metric], ticks, _limits(figure))
    if not report.rows:
        figure.add_annotation(
            text="no sites in this report", x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, bgcolor="#ffffff"
        )
    return figure


@dataclass(frozen=True)
class _Point:
    """One row with its place on the layer axis."""

    x: float
    site: Site
    row: Mapping[str, Any]

    def value(self, field: str) -> float:
        """The field as a float, NaN where it is missing."""
        value = self.row.get(field)
        return math.nan if value is None else float(value)


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
        groups.setdefault(kind, []).append(_Point(x, site, row))
    return {
        k: sorted(groups[k], key=lambda p: (p.x, -1 if p.site.head is None else p.site.head))
        for k in kinds
        if k in groups
    } or {"": []}


def _panel_traces(report: Report, points: list[_Point], metric: str, theme: Theme) -> list[Any]:
    """Everything in one panel, back to front."""
    span = _span(points)
    series: dict[str, list[_Point]] = {}
    for point in points:
        series.setdefault(_series_name(point), []).append(point)
    traces = _null_traces(report, points, metric, theme, span, alone=len(series) == 1)
    if len(series) > 1:
        return traces + _several(series, metric, theme)
    if any(not math.isnan(p.value(f"untrained_{metric}")) for p in points):
        style, field = ROLES["untrained"], f"untrained_{metric}"
        # Few layers have whiskers instead of bands, and whiskers on one another cannot be read.
        aside = 0.05 if len(points) < _BAND_FROM else 0.0
        control = [dataclasses.replace(point, x=point.x + aside) for point in points]
        traces += _band(control, field, style, "untrained", 0.13)
        traces.append(_line(control, field, "Untrained", style, theme, rank=2, group="untrained"))
    style = ROLES["result"]
    traces += _band(points, metric, style, "result", 0.22)
    name = "Probe" + _interval_words(report, points, metric)
    traces.append(_line(points, metric, name, style, theme, rank=1, group="result"))
    return sorted(traces, key=lambda trace: trace.fill is None)  # bands lie under every line


def _several(series: dict[str, list[_Point]], metric: str, theme: Theme) -> list[Any]:
    """Several results in one panel: side by side with whiskers, or, when they are too many to tell apart, as dots."""
    if len(series) > len(SERIES):
        points = [point for own in series.values() for point in own]
        dots = _line(points, metric, f"Probe, {len(series)} per layer", ROLES["result"], theme, rank=1)
        dots.update(mode="markers", marker_opacity=0.6, error_y=None)
        return [dots]
    traces = []
    for number, ((name, own), style) in enumerate(zip(series.items(), SERIES, strict=False)):
        aside = (number - (len(series) - 1) / 2) * min(0.12, 0.5 / len(series))
        moved = [dataclasses.replace(point, x=point.x + aside) for point in own]
        traces.append(_line(moved, metric, name, style, theme, rank=1, whiskers=True))
    return traces


def _series_name(point: _Point) -> str:
    parts = [f"head {point.site.head}"] if point.site.head is not None else []
    parts += [html.escape(str(point.row["mark"]))] if point.row.get("mark") else []
    return ", ".join(parts) or "Probe"


def _null_traces(
    report: Report, points: list[_Point], metric: str, theme: Theme, span: tuple[float, float], alone: bool
) -> list[Any]:
    """What luck alone finds: chance, shuffled labels, and baselines that never saw the model."""
    import plotly.graph_objects as go

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
        xs, ys = _polygon([p.x for p in points], low, high, widen=0.5)
        traces.append(
            go.Scatter(
                x=xs, y=ys, mode="lines", line_width=0, fill="toself", fillcolor=ROLES["null"].faint(0.55),
                name=name, legendgroup="null", legendrank=6, hoverinfo="skip",
            )
        )  # fmt: skip
    lines = [
        (8, chance, "Chance", ROLES["chance"]),
        (7, report.meta.get(f"null_max_{metric}_95"), "Shuffled, best site", ROLES["null_max"]),
        (4, report.meta.get(f"baseline_bow_{metric}"), "Bag of tokens", ROLES["baseline"]),
        (5, report.meta.get(f"baseline_last_token_{metric}"), "Last token", ROLES["baseline_2"]),
    ]
    for rank, value, name, style in lines:
        if isinstance(value, (int, float)) and math.isfinite(value):
            line = {"color": style.hex, "dash": style.dash, "width": theme.line_width * style.weight}
            traces.append(
                go.Scatter(
                    x=span, y=[value, value], mode="lines", line=line, name=name, legendgroup=name, legendrank=rank,
                    hoverinfo="text", hovertext=[f"{name}: {value:.3f}"] * 2,
                )
            )  # fmt: skip
    return traces


def _line(
    points: list[_Point], field: str, name: str, style: Style, theme: Theme, rank: int, group: str | None = None,
    whiskers: bool = False,
) -> Any:  # fmt: skip
    """The line with markers of one field; whiskers where there is no band to show its interval."""
    import plotly.graph_objects as go

    values = [p.value(field) for p in points]
    low, high = ([p.value(field + end) for p in points] for end in ("_lo", "_hi"))
    # Markers would hide the dashes of a crowded line.
    crowded = _crowding(points) < 1 and style.dash != "solid" and not _isolated(values)
    trace = go.Scatter(
        x=[p.x for p in points],
        y=[None if math.isnan(v) else v for v in values],
        mode="lines" if crowded else "lines+markers",
        line={"color": style.hex, "dash": style.dash, "width": theme.line_width * style.weight},
        marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size * _crowding(points)},
        name=name,
        legendgroup=group or name,
        legendrank=rank,
        hoverinfo="text",
        hovertext=[_hover(p, field) for p in points],
        cliponaxis=False,
    )
    bare = set(range(len(points))) if whiskers else _lonely(points, field)
    if any(not math.isnan(low[i]) and not math.isnan(high[i]) for i in bare):
        trace.error_y = {
            "type": "data",
            "symmetric": False,
            "array": [high[i] - values[i] if i in bare else None for i in range(len(points))],
            "arrayminus": [values[i] - low[i] if i in bare else None for i in range(len(points))],
            "thickness": theme.line_width * 0.6,
            "width": theme.marker_size * 0.5,
            "color": style.hex,
        }
        for side in ("array", "arrayminus"):
            trace.error_y[side] = [None if v is None or math.isnan(v) else v for v in trace.error_y[side]]
    return trace


def _band(points: list[_Point], field: str, style: Style, group: str, alpha: float) -> list[Any]:
    """The interval of a field as a filled band, broken where a value is missing."""
    import plotly.graph_objects as go

    alone = _lonely(points, field)
    low, high = (
        [math.nan if i in alone else p.value(field + end) for i, p in enumerate(points)] for end in ("_lo", "_hi")
    )
    xs, ys = _polygon([p.x for p in points], low, high)
    if not xs:
        return []
    return [
        go.Scatter(
            x=xs, y=ys, mode="lines", line_width=0, fill="toself", fillcolor=style.faint(alpha), legendgroup=group,
            showlegend=False, hoverinfo="skip",
        )
    ]  # fmt: skip


def _runs(points: list[_Point], field: str) -> list[list[int]]:
    """Stretches of neighbouring points that all have an interval."""
    runs: list[list[int]] = [[]]
    for i, point in enumerate(points):
        if math.isnan(point.value(field + "_lo")) or math.isnan(point.value(field + "_hi")):
            runs.append([])
        else:
            runs[-1].append(i)
    return [run for run in runs if run]


def _lonely(points: list[_Point], field: str) -> set[int]:
    """Points whose stretch is too short for a band."""
    return {i for run in _runs(points, field) if len(run) < _BAND_FROM for i in run}


def _polygon(
    xs: Sequence[float], low: Sequence[float], high: Sequence[float], widen: float = 0.0
) -> tuple[list[float | None], list[float | None]]:
    """Closed outlines between low and high, one per unbroken stretch, with ``None`` between them."""
    outline_x: list[float | None] = []
    outline_y: list[float | None] = []
    start = 0
    missing = [math.isnan(a) or math.isnan(b) for a, b in zip(low, high, strict=True)]
    for end in range(len(xs) + 1):
        if end < len(xs) and not missing[end]:
            continue
        if end > start:
            place, lows, highs = list(xs[start:end]), list(low[start:end]), list(high[start:end])
            if widen:
                place = [place[0] - widen, *place, place[-1] + widen]
                lows, highs = [lows[0], *lows, lows[-1]], [highs[0], *highs, highs[-1]]
            if outline_x:
                outline_x.append(None)
                outline_y.append(None)
            outline_x += [*place, *place[::-1], place[0]]
            outline_y += [*lows, *highs[::-1], lows[0]]
        start = end + 1
    return outline_x, outline_y


def _hover(point: _Point, field: str) -> str:
    value, low, high = (point.value(field + end) for end in ("", "_lo", "_hi"))
    text = f"{html.escape(str(point.row.get('site')))}: {value:.3f}"
    if not math.isnan(low) and not math.isnan(high):
        text += f" [{low:.3f}, {high:.3f}]"
    p = point.value("p_max")
    return text if math.isnan(p) or field.startswith("untrained") else f"{text}, p = {p:.3g}"


def _has_interval(points: list[_Point], field: str) -> bool:
    return bool(_runs(points, field))


def _interval_words(report: Report, points: list[_Point], field: str) -> str:
    level = report.meta.get("ci_level", 0.95)
    level = level if isinstance(level, (int, float)) else 0.95
    return f", {100 * level:g} % CI" if _has_interval(points, field) else ""


def _crowding(points: list[_Point]) -> float:
    """Smaller markers when there are many layers."""
    count = len({p.x for p in points})
    return 1.0 if count <= 26 else 0.7 if count <= 48 else 0.5


def _isolated(values: list[float]) -> bool:
    """Whether some value has none beside it, so that no line would show it."""
    there = [False, *(not math.isnan(v) for v in values), False]
    return any(there[i] and not there[i - 1] and not there[i + 1] for i in range(1, len(there) - 1))


def _span(points: list[_Point]) -> tuple[float, float]:
    xs = [p.x for p in points] or [0.0]
    return min(xs) - 0.5, max(xs) + 0.5


def _limits(figure: Figure) -> tuple[float, float]:
    """A range that shows everything drawn; accuracies end at 1 unless something lies above."""
    values = [v for t in figure.data for v in t.y if v is not None]
    values += [v + e for t in figure.data if t.error_y.array is not None
               for v, e in zip(t.y, t.error_y.array, strict=True) if v is not None and e is not None]  # fmt: skip
    values += [v - e for t in figure.data if t.error_y.arrayminus is not None
               for v, e in zip(t.y, t.error_y.arrayminus, strict=True) if v is not None and e is not None]  # fmt: skip
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(0.05 * (high - low), 0.015)
    return low - room, high + room


def _ticks(points: list[_Point], panel: Panel, theme: Theme) -> tuple[tuple[float, float], list[float], list[str]]:
    """Range, tick places and tick texts of the layer axis: whole layers, as many as fit."""
    low, high = _span(points)
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


def _one_legend_entry_each(figure: Figure) -> None:
    seen: set[str] = set()
    for trace in figure.data:
        if trace.showlegend is not False:
            trace.showlegend = trace.name not in seen
            seen.add(trace.name)


__all__ = ["METRICS", "Frame", "accuracy_by_layer"]

"""Lines, bands and whiskers that figures share. What is drawn stands in the rows of a report."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..report import Report
from .themes import ROLES, Style, Theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BAND_FROM = 3  # points; with fewer, the interval is a whisker


@dataclass(frozen=True)
class Point:
    """One row with its place on the x axis; ``name`` is what its tooltip calls it."""

    x: float
    name: str
    row: Mapping[str, Any]

    def value(self, field: str) -> float:
        """The field as a float, NaN where it is missing or no number."""
        value = self.row.get(field)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan

    def moved(self, by: float) -> Point:
        """The same row a little to the side, so that whiskers do not lie on one another."""
        return dataclasses.replace(self, x=self.x + by)


def aside(number: int, count: int, most: float = 0.12) -> float:
    """How far the whiskers of one of ``count`` series stand from the middle."""
    return (number - (count - 1) / 2) * min(most, 0.5 / max(count, 1))


def has_values(points: Sequence[Point], field: str) -> bool:
    """Whether some point has the field."""
    return any(not math.isnan(p.value(field)) for p in points)


def line(
    points: Sequence[Point], field: str, name: str, style: Style, theme: Theme, rank: int, group: str | None = None,
    whiskers: bool = False, p: str | None = None,
) -> Any:  # fmt: skip
    """The line with markers of one field; whiskers where there is no band to show its interval.

    ``p`` names the field whose p-value the tooltips show.
    """
    import plotly.graph_objects as go

    values = [point.value(field) for point in points]
    low, high = ([point.value(field + end) for point in points] for end in ("_lo", "_hi"))
    # Markers would hide the dashes of a crowded line.
    crowded = crowding(points) < 1 and style.dash != "solid" and not _isolated(values)
    trace = go.Scatter(
        x=[point.x for point in points],
        y=[None if math.isnan(v) else v for v in values],
        mode="lines" if crowded else "lines+markers",
        line={"color": style.hex, "dash": style.dash, "width": theme.line_width * style.weight},
        marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size * crowding(points)},
        name=name,
        legendgroup=group or name,
        legendrank=rank,
        hoverinfo="text",
        hovertext=[hover(point, field, p) for point in points],
        cliponaxis=False,
    )
    bare = set(range(len(points))) if whiskers else _lonely(points, field)
    if any(not math.isnan(low[i]) and not math.isnan(high[i]) for i in bare):
        up = [high[i] - values[i] if i in bare else math.nan for i in range(len(points))]
        down = [values[i] - low[i] if i in bare else math.nan for i in range(len(points))]
        trace.error_y = error_bar(up, down, style, theme)
    return trace


def error_bar(up: Sequence[float], down: Sequence[float], style: Style, theme: Theme) -> dict[str, Any]:
    """Whiskers of these lengths, none where one is NaN; an interval may lie off its value, so none is negative."""
    up, down = ([math.nan if math.isnan(v) else max(v, 0.0) for v in side] for side in (up, down))
    return {
        "type": "data",
        "symmetric": False,
        "array": [None if math.isnan(v) else v for v in up],
        "arrayminus": [None if math.isnan(v) else v for v in down],
        "thickness": theme.line_width * 0.6,
        "width": theme.marker_size * 0.5,
        "color": style.hex,
    }


def band(points: Sequence[Point], field: str, style: Style, group: str, alpha: float) -> list[Any]:
    """The interval of a field as a filled band, broken where a value is missing."""
    import plotly.graph_objects as go

    alone = _lonely(points, field)
    low, high = (
        [math.nan if i in alone else p.value(field + end) for i, p in enumerate(points)] for end in ("_lo", "_hi")
    )
    xs, ys = polygon([p.x for p in points], low, high)
    if not xs:
        return []
    return [
        go.Scatter(
            x=xs, y=ys, mode="lines", line_width=0, fill="toself", fillcolor=style.faint(alpha), legendgroup=group,
            showlegend=False, hoverinfo="skip",
        )
    ]  # fmt: skip


def shuffled(
    points: Sequence[Point], low: Sequence[float], high: Sequence[float], name: str, reach: float = 0.5
) -> Any:
    """What shuffled labels reach, as a grey area that goes ``reach`` beyond the first and last point."""
    import plotly.graph_objects as go

    xs, ys = polygon([p.x for p in points], low, high, widen=reach)
    return go.Scatter(
        x=xs, y=ys, mode="lines", line_width=0, fill="toself", fillcolor=ROLES["null"].faint(0.55),
        name=name, legendgroup="null", legendrank=6, hoverinfo="skip",
    )  # fmt: skip


def level(value: float, span: tuple[float, float], name: str, style: Style, theme: Theme, rank: int) -> Any:
    """A value that does not depend on x, as a line across the panel."""
    import plotly.graph_objects as go

    return go.Scatter(
        x=span, y=[value, value], mode="lines", name=name, legendgroup=name, legendrank=rank,
        line={"color": style.hex, "dash": style.dash, "width": theme.line_width * style.weight},
        hoverinfo="text", hovertext=[f"{name}: {value:.3f}"] * 2,
    )  # fmt: skip


def lines_on_top(traces: Sequence[Any]) -> list[Any]:
    """Bands lie under every line."""
    return sorted(traces, key=lambda trace: trace.fill is None)


def _runs(points: Sequence[Point], field: str) -> list[list[int]]:
    """Stretches of neighbouring points that all have an interval."""
    runs: list[list[int]] = [[]]
    for i, point in enumerate(points):
        if math.isnan(point.value(field + "_lo")) or math.isnan(point.value(field + "_hi")):
            runs.append([])
        else:
            runs[-1].append(i)
    return [run for run in runs if run]


def _lonely(points: Sequence[Point], field: str) -> set[int]:
    """Points whose stretch is too short for a band."""
    return {i for run in _runs(points, field) if len(run) < BAND_FROM for i in run}


def polygon(
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


def hover(point: Point, field: str, p: str | None = None) -> str:
    """The tooltip: what, value, interval, p-value."""
    value, low, high = (point.value(field + end) for end in ("", "_lo", "_hi"))
    text = f"{html.escape(point.name)}: {value:.3f}"
    if not math.isnan(low) and not math.isnan(high):
        text += f" [{low:.3f}, {high:.3f}]"
    chance = math.nan if p is None else point.value(p)
    return text if math.isnan(chance) else f"{text}, p = {chance:.3g}"


def interval_words(report: Report, points: Sequence[Point], field: str) -> str:
    """``", 95 % CI"`` where some point has an interval."""
    level = report.meta.get("ci_level", 0.95)
    level = level if isinstance(level, (int, float)) else 0.95
    return f", {100 * level:g} % CI" if _runs(points, field) else ""


def crowding(points: Sequence[Point]) -> float:
    """Smaller markers when there are many points beside one another."""
    count = len({p.x for p in points})
    return 1.0 if count <= 26 else 0.7 if count <= 48 else 0.5


def _isolated(values: Sequence[float]) -> bool:
    """Whether some value has none beside it, so that no line would show it."""
    there = [False, *(not math.isnan(v) for v in values), False]
    return any(there[i] and not there[i - 1] and not there[i + 1] for i in range(1, len(there) - 1))


def span(points: Sequence[Point]) -> tuple[float, float]:
    """The range of an x axis whose points are one apart."""
    xs = [p.x for p in points] or [0.0]
    return min(xs) - 0.5, max(xs) + 0.5


def limits(figure: Figure, axis: str | None = None) -> tuple[float, float]:
    """A range of y that shows everything drawn, on one y axis or on all."""
    values = []
    for trace in figure.data:
        if axis is not None and (trace.yaxis or "y") != axis:
            continue
        values += [v for v in trace.y if v is not None]
        for side, sign in ((trace.error_y.array, 1), (trace.error_y.arrayminus, -1)):
            if side is not None:
                values += [v + sign * e for v, e in zip(trace.y, side, strict=True) if v is not None and e is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(0.05 * (high - low), 0.015)
    return low - room, high + room


def one_legend_entry_each(figure: Figure) -> None:
    """A name that several panels share is in the legend once."""
    seen: set[str] = set()
    for trace in figure.data:
        if trace.showlegend is not False:
            trace.showlegend = trace.name not in seen
            seen.add(trace.name)

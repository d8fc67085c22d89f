"""``steering_dose_response``: a metric and its side effects by how much of a direction is added, beside random ones."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Ticks, panel_frame
from .series import (
    Point,
    band,
    has_values,
    interval_words,
    level,
    limits,
    line,
    lines_on_top,
    one_legend_entry_each,
    shuffled,
)  # fmt: skip
from .themes import ROLES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Field of a cost -> the panel's title.
COSTS = {
    "kl": "KL on neutral text, nats per token",
    "ce_change": "Change of loss on neutral text",
    "nll": "Surprise at what it writes, nats",
}
UNITS = {
    "length": "Coefficient, in lengths of the direction",
    "norm": "Coefficient, in typical norms",
    "absolute": "Coefficient, in units of activations",
}
_STEERED = ROLES["result"]
_RANDOM = Style("muted", "1.5px,2px", "circle-open", 0.75)
_LIMIT = Style("vermillion", "6px,3px", weight=0.6)


def steering_dose_response(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """The metric by coefficient with its interval and where random directions lie; then one panel per side effect.

    What a report lacks is left out; nothing is computed here but the sum of the unedited score and random effects.

    >>> from interp.provenance import Provenance
    >>> rows = [{"coeff": c, "score": c * 2, "random_effect_lo": -c, "random_effect_hi": c} for c in (0.0, 1.0, 2.0)]
    >>> meta = {"metric": "refusal score", "metric_unit": "log odds", "coeff_unit": "length"}
    >>> made = Report("steering", "Steering", "It refuses more.", rows, Provenance("a1", "tiny"), meta=meta)
    >>> [trace.name for trace in steering_dose_response(made, theme="paper").data]
    ['Random directions, 95 %', 'Steered']

    Raises:
        ReportError: the report is not of kind "steering", or a row lacks its coefficient or score.
    """
    import plotly.graph_objects as go

    if report.kind != "steering":
        raise ReportError(f"steering_dose_response draws reports of kind 'steering', not {report.kind!r}")
    points = _points(report)
    costs = [name for name in COSTS if has_values(points, name)]
    metric, unit = (html.escape(str(report.meta.get(k, k))) for k in ("metric", "metric_unit"))
    titles = [f"{metric[:1].upper()}{metric[1:]}, {unit}", *(COSTS[name] for name in costs)]
    theme = get_theme(theme)
    frame = panel_frame(theme, titles, width, own_y=True)
    figure = go.Figure()
    for panel, field in zip(frame.panels, ("score", *costs), strict=True):
        traces = _score(report, points, theme) if field == "score" else _cost(report, points, field, theme)
        for trace in lines_on_top(traces):
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
    one_legend_entry_each(figure)
    ranges = [limits(figure, panel.y) for panel in frame.panels]
    ticks = [_ticks([p.x for p in points], panel.width, theme) for panel in frame.panels]
    below = UNITS.get(str(report.meta.get("coeff_unit")), "Coefficient")
    frame.apply(figure, report.title, below, [""] * len(titles), ticks, ranges)
    return figure


def _points(report: Report) -> list[Point]:
    points = []
    for row in report.rows:
        coeff, score = row.get("coeff"), row.get("score")
        if not isinstance(coeff, (int, float)) or not isinstance(score, (int, float)):
            raise ReportError(f"a row of this 'steering' report has coefficient {coeff!r} and score {score!r}")
        points.append(Point(float(coeff), f"coefficient {coeff:g}", row))
    if not points:
        raise ReportError("this 'steering' report has no rows to draw")
    return sorted(points, key=lambda point: point.x)


def _score(report: Report, points: Sequence[Point], theme: Theme) -> list[Any]:
    base = next((p.value("score") for p in points if p.x == 0), math.nan)
    low, high = ([base if p.x == 0 else base + p.value(f"random_effect_{end}") for p in points] for end in ("lo", "hi"))
    traces = []
    if any(not math.isnan(v) for p, v in zip(points, low, strict=True) if p.x):
        traces.append(shuffled(points, low, high, "Random directions, 95 %", reach=0))
    traces += band(points, "score", _STEERED, "steered", 0.18)
    name = f"Steered{interval_words(report, points, 'score')}"
    return [*traces, line(points, "score", name, _STEERED, theme, rank=1, group="steered", p="p_max")]


def _cost(report: Report, points: Sequence[Point], field: str, theme: Theme) -> list[Any]:
    traces: list[Any] = []
    if has_values(points, f"random_{field}_lo"):
        at_zero = 0.0
        low, high = (
            [at_zero if p.x == 0 else p.value(f"random_{field}_{end}") for p in points] for end in ("lo", "hi")
        )
        traces.append(shuffled(points, low, high, "Random directions, range", reach=0))
    elif has_values(points, f"random_{field}"):
        start = [p for p in points if p.x == 0]
        same = [Point(p.x, p.name, {f"random_{field}": p.value(field)}) for p in start]
        beside = sorted([*same, *(p for p in points if p.x)], key=lambda p: p.x)
        traces.append(line(beside, f"random_{field}", "A random direction", _RANDOM, theme, rank=5, group="one"))
    traces += band(points, field, _STEERED, "steered", 0.18)
    name = f"Steered{interval_words(report, points, 'score')}"
    traces.append(line(points, field, name, _STEERED, theme, rank=1, group="steered"))
    limit = report.meta.get("kl_limit")
    reach = [v for p in points for v in (p.value(field), p.value(f"random_{field}_hi")) if not math.isnan(v)]
    if field == "kl" and isinstance(limit, (int, float)) and reach and max(reach) > 0.4 * limit:
        traces.append(level(float(limit), (points[0].x, points[-1].x), "Limit of KL", _LIMIT, theme, rank=9))
    return traces


def _ticks(places: Sequence[float], width: float, theme: Theme) -> Ticks:
    """A range with a little room, and the coefficients that have room for their numbers."""
    low, high = min(places), max(places)
    room = 0.04 * (high - low) or 0.5
    apart = 2.6 * theme.font_size / width * (high - low + 2 * room)
    shown: list[float] = []
    for place in sorted(places, key=lambda x: (x != 0, -abs(x))):  # 0 first, then from the outside in
        if all(abs(place - other) >= apart for other in shown):
            shown.append(place)
    shown.sort()
    return (low - room, high + room), shown, [f"{x:g}".replace("-", "\N{MINUS SIGN}") for x in shown]

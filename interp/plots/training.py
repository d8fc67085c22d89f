"""``recall_over_training``: when records are learned, and what the rest of the training does meanwhile."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .doses import dose_name, doses
from .frame import Ticks, panel_frame
from .series import Point, has_values, limits, line, one_legend_entry_each
from .themes import SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CURVE_METRICS = {
    "exact": "Recited exactly, share of records",
    "retained": "Share of the gap to twins that is left",
    "retainability": "Share of what was gained that is left",
    "recognition": "Seen record preferred to its twin",
    "targets_right": "Details right, share",
    "log_p": "Log probability, nats per token",
    "story_loss": "Loss on held-out text, nats per token",
    "loss": "Loss on held-out text, nats per token",
}
_LOSSES = ("loss", "story_loss")  # of other text
_OTHER = Style("ink")
_CONTROLS = Style("ink", "1.5px,2px", "cross-open", 0.6)
_UNTRAINED = Style("muted", "3px,2px", "square-open", 0.6)


def recall_over_training(
    report: Report,
    metrics: Sequence[str] | None = None,
    theme: str | Theme = "screen",
    width: float | None = None,
) -> Figure:
    """Each metric by training step, one panel per metric and one line per dose; untrained twins in grey.

    ``metrics`` are columns of the report; by default exact recall and the loss on other text, where it has them.
    Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"step": s, "dose": 8, "label": "trained", "exact": s / 300} for s in (100, 200, 300)]
    >>> made = Report("curve", "Training", "It is learned late.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in recall_over_training(made, theme="paper").data]
    ['8 times']

    Raises:
        ReportError: the report is not of kind "curve", no row has one of the metrics, or there are too many doses to
            tell apart.
    """
    import plotly.graph_objects as go

    if report.kind != "curve":
        raise ReportError(f"recall_over_training draws reports of kind 'curve', not {report.kind!r}")
    have = [m for m in CURVE_METRICS if m in report.columns]
    first, rest = [m for m in have if m not in _LOSSES], [m for m in have if m in _LOSSES]
    chosen = first[:1] + rest[:1] if metrics is None else list(metrics)
    if not chosen or (unknown := [m for m in chosen if m not in report.columns]):
        missing = unknown[0] if chosen else "exact"
        raise ReportError(f"this report has no metric {missing!r} to draw; it has: {', '.join(have) or 'none'}")
    theme = get_theme(theme)
    frame = panel_frame(theme, [CURVE_METRICS.get(m, html.escape(m)) for m in chosen], width, own_y=True)
    figure = go.Figure()
    for panel, metric in zip(frame.panels, chosen, strict=True):
        for trace in _lines(report, metric, theme):
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
    one_legend_entry_each(figure)
    ranges = [limits(figure, panel.y) for panel in frame.panels]
    ticks = [_steps(report, panel.width, theme)] * len(frame.panels)
    frame.apply(figure, report.title, "Training step", [""] * len(chosen), ticks, ranges)
    return figure


def _lines(report: Report, metric: str, theme: Theme) -> list[Any]:
    series: dict[tuple[Any, Any], list[Point]] = {}
    for row in report.rows:
        label, dose, step = row.get("label"), row.get("dose"), row.get("step")
        if not isinstance(step, (int, float)):
            raise ReportError(f"a row of this 'curve' report has the step {step!r}, which is no number")
        what = f"step {step:g}" if dose is None else f"{label or 'records'}, dose {dose_name(dose)}, step {step:g}"
        series.setdefault((dose, label), []).append(Point(float(step), what, row))
    known = [dose for dose in doses(report) if dose is not None]
    if len(known) > len(SERIES):
        raise ReportError(f"{len(known)} doses are too many for one figure; select rows of at most {len(SERIES)}")
    traces = []
    for (dose, label), found in sorted(series.items(), key=lambda item: (item[0][1] != "untrained", str(item[0]))):
        points = sorted(found, key=lambda point: point.x)
        if not has_values(points, metric):
            continue
        rank = known.index(dose) if dose is not None and label != "untrained" else len(known)
        name, style = "Untrained twins", _UNTRAINED
        if label != "untrained":
            name, style = (f"{dose_name(dose)} times", SERIES[rank]) if dose is not None else _plain(label)
        traces.append(line(points, metric, name, style, theme, rank=rank, whiskers=True))
        if dose is None and label is None:
            traces[-1].showlegend = False  # the panel says what it is
    return traces


def _plain(label: Any) -> tuple[str, Style]:
    """Name and look of a line that has no dose."""
    return ("Never shown", _CONTROLS) if label == "controls" else (html.escape(str(label or "Other text")), _OTHER)


def _steps(report: Report, width: float, theme: Theme) -> Ticks:
    """Range and ticks of the step axis: round numbers, as many as fit."""
    steps = [float(row["step"]) for row in report.rows] or [0.0, 1.0]
    low, high = min(steps), max(steps)
    room = max(0.04 * (high - low), 0.5)
    most = max(int(width / (4.2 * theme.font_size)), 2)
    scale = next(10.0**e * m for e in range(12) for m in (1, 2, 5) if (high - low) / (10.0**e * m) <= most)
    whole = [scale * i for i in range(int(low / scale), int(high / scale) + 2)]
    places = [step for step in whole if low - room <= step <= high + room]
    return (low - room, high + room), places, [f"{v:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}") for v in places]

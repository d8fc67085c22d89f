"""``dose_response``: how much a model recalls by how often it was shown, beside twins that it never saw."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .doses import DOSE_AXIS, dose_points, dose_ticks, doses
from .frame import panel_frame
from .series import aside, has_values, interval_words, limits, line, one_legend_entry_each
from .themes import ROLES, SERIES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RECALL_METRICS = {
    "exact": "Recited exactly, share of records",
    "log_p": "Log probability, nats per token",
    "similarity": "Similarity of what is recited",
    "strength": "Extraction strength",
    "min_k": "Min-K %",
    "min_k_pp": "Min-K %++",
    "zlib": "Log probability per zlib byte",
}
_SHOWN = ("exact", "log_p")
LABELS = {"trained": "Trained on", "untrained": "Untrained twins", None: "Records"}
UNPAIRED = "Not trained on"


def dose_response(
    report: Report,
    metrics: Sequence[str] | None = None,
    theme: str | Theme = "screen",
    width: float | None = None,
) -> Figure:
    """Recall by dose for the records that were trained on and for their untrained twins, one panel per metric.

    Untrained records that no pair joins to a trained one are not called twins.

    ``metrics`` are columns of the report; by default exact recall and log probability. Doses are as far apart as they
    are in order. Whiskers are the report's intervals; nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"dose": d, "label": "trained", "exact": x} for d, x in ((0, 0.0), (8, 0.5), (128, 1.0))]
    >>> made = Report("recall", "Recall", "It recites what it saw often.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in dose_response(made, theme="paper").data]
    ['Trained on']

    Raises:
        ReportError: the report is not of kind "recall", or no row has one of the metrics.
    """
    import plotly.graph_objects as go

    if report.kind != "recall":
        raise ReportError(f"dose_response draws reports of kind 'recall', not {report.kind!r}")
    chosen = _chosen(report, metrics)
    theme = get_theme(theme)
    known = doses(report)
    there = {row.get("label") for row in report.rows}
    labels = [label for label in LABELS if label in there] + sorted(there - LABELS.keys(), key=str)
    titles = [html.escape(RECALL_METRICS.get(metric, metric)) for metric in chosen]
    frame = panel_frame(theme, titles, width, own_y=True)
    figure = go.Figure()
    for panel, metric in zip(frame.panels, chosen, strict=True):
        for number, label in enumerate(labels):
            trace = _series(report, known, label, number, len(labels), metric, theme)
            trace.update(xaxis=panel.x, yaxis=panel.y)
            figure.add_trace(trace)
    one_legend_entry_each(figure)
    ranges = [limits(figure, panel.y) for panel in frame.panels]
    frame.apply(figure, report.title, DOSE_AXIS, [""] * len(chosen), [dose_ticks(known)] * len(chosen), ranges)
    return figure


def _chosen(report: Report, metrics: Sequence[str] | None) -> list[str]:
    have = [m for m in report.columns if m in RECALL_METRICS or f"{m}_lo" in report.columns]
    chosen = [m for m in _SHOWN if m in have] or have[:1] if metrics is None else list(metrics)
    missing = [m for m in chosen if m not in report.columns] if chosen else ["exact"]
    if missing:
        raise ReportError(f"this report has no metric {missing[0]!r} to draw; it has: {', '.join(have) or 'none'}")
    return chosen


def _series(
    report: Report, known: Sequence[Any], label: Any, number: int, count: int, metric: str, theme: Theme
) -> Any:
    styles = {"trained": ROLES["result"], "untrained": ROLES["untrained"], None: ROLES["result"]}
    style = styles.get(label, SERIES[(number + 2) % len(SERIES)])
    unpaired = label == "untrained" and report.meta.get("twins") is False
    name = html.escape(UNPAIRED if unpaired else LABELS.get(label, str(label)))
    points = [p.moved(aside(number, count)) for p in dose_points(report, known, str(label or "records"), label=label)]
    if has_values(points, f"{metric}_lo") and label in ("trained", None):
        name += interval_words(report, points, metric)
    return line(points, metric, name, style, theme, rank=number, group=str(label), whiskers=True)

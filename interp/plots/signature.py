"""``signature_by_depth`` and ``signature_by_dose``: where records that were trained on can be told from others."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .depths import DEPTH_AXIS, choose, depth_points, depth_ticks, dose_title
from .doses import doses
from .frame import panel_frame
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
    span,
)
from .tables import p_value
from .themes import ROLES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CONTRASTS = {
    "twins": "trained on or not",
    "M-C": "trained wording or paraphrase",
    "C-B": "one paraphrase or another",
}
MARKS = ("recall", "last")  # what is drawn where nothing is chosen, and occurs


def signature_by_depth(
    report: Report,
    mark: str | None = None,
    contrast: str | None = None,
    theme: str | Theme = "screen",
    width: float | None = None,
) -> Figure:
    """AUC of the cross-sequence probe by depth, one panel per dose, with everything that luck and controls reach.

    Without ``mark`` the recall marks are drawn, or the first mark that the report has; without ``contrast`` the twins.
    Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"contrast": "twins", "dose": 8, "mark": "recall", "depth": d, "auc": 0.5 + d / 9} for d in range(4)]
    >>> made = Report("signature", "Signature", "It is read at depth 3.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in signature_by_depth(made, theme="paper").data]
    ['Chance', 'Probe']

    Raises:
        ReportError: the report is not of kind "signature", or has no row with that mark and contrast.
    """
    import plotly.graph_objects as go

    require_signature(report, "signature_by_depth")
    mark = choose(report, "mark", mark, MARKS)
    contrast = choose(report, "contrast", contrast, CONTRASTS)
    theme = get_theme(theme)
    here = {"mark": mark, "contrast": contrast}
    panels = {dose: points for dose in doses(report) if (points := depth_points(report, dose=dose, **here))}
    if not panels:
        raise ReportError(f"this 'signature' report has no row with mark {mark!r} and contrast {contrast!r}")
    frame = panel_frame(theme, [dose_title(dose) for dose in panels], width)
    figure = go.Figure()
    for panel, points in zip(frame.panels, panels.values(), strict=True):
        for trace in _panel_traces(report, points, theme):
            trace.update(xaxis=panel.x, yaxis=panel.y)
            figure.add_trace(trace)
    one_legend_entry_each(figure)
    ticks = [depth_ticks(points, panel, theme) for panel, points in zip(frame.panels, panels.values(), strict=True)]
    words = html.escape(CONTRASTS.get(str(contrast), str(contrast)))
    frame.apply(figure, f"{report.title}: {words}, read at {mark}", DEPTH_AXIS, "AUC", ticks, limits(figure))
    for panel, points in zip(frame.panels, panels.values(), strict=True):
        chance = cell_of(report, points).get("p_max")
        if panel.title and isinstance(chance, (int, float)):
            frame.corner(figure, panel, f"p = {p_value(chance)}")
    return figure


def require_signature(report: Report, who: str) -> None:
    """Raise unless the report is of kind "signature" and has AUCs."""
    if report.kind != "signature":
        raise ReportError(f"{who} draws reports of kind 'signature', not {report.kind!r}")
    if "auc" not in report.columns:
        raise ReportError("this 'signature' report has no column 'auc' to draw")


def cell_of(report: Report, points: Sequence[Point]) -> Mapping[str, Any]:
    """What ``meta["cells"]`` holds for the contrast, dose and mark of these rows; empty where it has none."""
    cells, row = report.meta.get("cells"), points[0].row
    for cell in cells if isinstance(cells, list) else ():
        if all(cell.get(name) == row.get(name) for name in ("contrast", "dose", "mark")):
            return cell
    return {}


def _panel_traces(report: Report, points: Sequence[Point], theme: Theme) -> list[Any]:
    """Everything in one panel, back to front."""
    traces = luck(points, theme, cell_of(report, points))
    for rank, (field, name, role) in enumerate(
        (("untrained_auc", "Random weights", "untrained"), ("never_auc", "Never trained on records", "never")), 2
    ):
        if has_values(points, field):
            traces.append(line(points, field, name, ROLES[role], theme, rank=rank, group=role))
    traces += band(points, "auc", ROLES["result"], "result", 0.22)
    name = "Probe" + interval_words(report, points, "auc")
    traces.append(line(points, "auc", name, ROLES["result"], theme, rank=1, group="result", p="p_max"))
    return lines_on_top(traces)


def luck(points: Sequence[Point], theme: Theme, cell: Mapping[str, Any]) -> list[Any]:
    """What shuffled labels reach at each depth and at the best of all, and chance."""
    traces = []
    if has_values(points, "null_auc_hi"):
        low, high = ([p.value(f"null_auc_{end}") for p in points] for end in ("lo", "hi"))
        name = "Shuffled, 95 %" if all(map(math.isnan, low)) else "Shuffled, 5–95 %"
        low = [0.5 if math.isnan(a) else a for a in low]
        traces.append(shuffled(points, low, high, name))
    best = cell.get("null_max_auc_95")
    if isinstance(best, (int, float)):
        traces.append(level(float(best), span(points), "Shuffled, best depth", ROLES["null_max"], theme, 7))
    traces.append(level(0.5, span(points), "Chance", ROLES["chance"], theme, 8))
    return traces

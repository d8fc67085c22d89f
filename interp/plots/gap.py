"""``gap_by_depth``: the trained wording against a paraphrase, one paraphrase against another, and the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .depths import DEPTH_AXIS, choose, depth_points, depth_ticks
from .doses import dose_name, doses
from .frame import panel_frame
from .series import (
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
    span,
)
from .signature import MARKS
from .themes import ROLES, SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# What the two accuracies tell apart, by the report's baseline.
_NAMES = {
    "C-B": ("Trained wording or paraphrase", "One paraphrase or another"),
    "twins": ("Wording or paraphrase, trained records", "The same, never-seen twins"),
}
_CLAMPED = Style("muted", "4px,2px", "diamond-open", 0.75)


def gap_by_depth(
    report: Report,
    mark: str | None = None,
    dose: Any = None,
    theme: str | Theme = "screen",
    width: float | None = None,
) -> Figure:
    """Both accuracies by depth in one panel, and the gap between them with its interval in the other.

    Without ``mark`` the recall marks are drawn, or the first mark that the report has; without ``dose`` the highest.
    Nothing is computed here: the gap is the report's, and so is the one whose baseline is clamped at chance.

    >>> from interp.provenance import Provenance
    >>> rows = [{"mark": "recall", "depth": d, "acc_mc": 0.6, "acc_cb": 0.5, "gap": 0.1} for d in range(4)]
    >>> made = Report("gap", "Gap", "The gap is small.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in gap_by_depth(made, theme="paper").data if trace.showlegend][1:]
    ['Trained wording or paraphrase', 'One paraphrase or another', 'Gap']

    Raises:
        ReportError: the report is not of kind "gap", or has no row at that mark and dose.
    """
    import plotly.graph_objects as go

    if report.kind != "gap":
        raise ReportError(f"gap_by_depth draws reports of kind 'gap', not {report.kind!r}")
    if missing := [c for c in ("acc_mc", "acc_cb", "gap") if c not in report.columns]:
        raise ReportError(f"this 'gap' report has no column {missing[0]!r} to draw")
    mark = choose(report, "mark", mark, MARKS)
    dose = choose(report, "dose", dose, doses(report)[::-1])
    points = depth_points(report, mark=mark, dose=dose)
    if not points:
        raise ReportError(f"this 'gap' report has no row with mark {mark!r} and dose {dose!r}")
    names = _NAMES.get(str(points[0].row.get("baseline")), _NAMES["C-B"])
    theme = get_theme(theme)
    frame = panel_frame(theme, ["Accuracy on held-out records", "Gap between the two"], width, own_y=True)
    left, right = frame.panels
    whole = span(points)
    accuracies = [level(0.5, whole, "Chance", ROLES["chance"], theme, 8)]
    for number, (field, name) in enumerate(zip(("acc_mc", "acc_cb"), names, strict=True)):
        moved = [point.moved(aside(number, 2)) for point in points]
        accuracies.append(line(moved, field, name, SERIES[number], theme, rank=number, whiskers=True))
    role = ROLES["difference"]
    gap = [level(0.0, whole, "No gap", ROLES["chance"], theme, 9), *band(points, "gap", role, "gap", 0.2)]
    name = "Gap" + interval_words(report, points, "gap")
    gap.append(line(points, "gap", name, role, theme, rank=3, group="gap", p="p_max"))
    gap[0].showlegend = False
    if has_values(points, "gap_clamped"):
        bare = [Point(p.x, p.name, {"gap_clamped": p.row.get("gap_clamped")}) for p in points]  # without its interval
        gap.append(line(bare, "gap_clamped", "Baseline at least chance", _CLAMPED, theme, rank=4))
    figure = go.Figure()
    for panel, traces in ((left, accuracies), (right, lines_on_top(gap))):
        for trace in traces:
            trace.update(xaxis=panel.x, yaxis=panel.y)
            figure.add_trace(trace)
    one_legend_entry_each(figure)
    ticks = [depth_ticks(points, panel, theme) for panel in frame.panels]
    title = f"{report.title}, read at {mark}" + ("" if dose is None else f", shown {dose_name(dose)} times")
    frame.apply(figure, title, DEPTH_AXIS, ["", ""], ticks, [limits(figure, panel.y) for panel in frame.panels])
    return figure

"""``gap_by_depth``: the trained wording against a paraphrase, one paraphrase against another, and the difference."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from ..errors import ReportError
from ..report import Report
from .depths import DEPTH_AXIS, choose, depth_points, depth_ticks
from .frame import panel_frame
from .series import aside, band, interval_words, level, limits, line, lines_on_top, one_legend_entry_each, span
from .signature import MARKS
from .themes import ROLES, SERIES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TWO = (("acc_mc", "Trained wording or paraphrase", SERIES[0]), ("acc_cb", "One paraphrase or another", SERIES[1]))


def gap_by_depth(
    report: Report, mark: str | None = None, theme: str | Theme = "screen", width: float | None = None
) -> Figure:
    """Both accuracies by depth in one panel, and the gap between them with its interval in the other.

    Without ``mark`` the recall marks are drawn, or the first mark that the report has. Nothing is computed here: the
    gap is the report's.

    >>> from interp.provenance import Provenance
    >>> rows = [{"mark": "recall", "depth": d, "acc_mc": 0.6, "acc_cb": 0.5, "gap": 0.1} for d in range(4)]
    >>> made = Report("gap", "Gap", "The gap is small.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in gap_by_depth(made, theme="paper").data if trace.name != "Chance"]
    ['Trained wording or paraphrase', 'One paraphrase or another', 'Gap']

    Raises:
        ReportError: the report is not of kind "gap", or has no row at that mark.
    """
    import plotly.graph_objects as go

    if report.kind != "gap":
        raise ReportError(f"gap_by_depth draws reports of kind 'gap', not {report.kind!r}")
    if missing := [c for c in ("acc_mc", "acc_cb", "gap") if c not in report.columns]:
        raise ReportError(f"this 'gap' report has no column {missing[0]!r} to draw")
    mark = choose(report, "mark", mark, MARKS)
    points = depth_points(report, mark=mark)
    theme = get_theme(theme)
    frame = panel_frame(theme, ["Accuracy on held-out records", "Gap between the two"], width, own_y=True)
    left, right = frame.panels
    whole = span(points)
    accuracies = [level(0.5, whole, "Chance", ROLES["chance"], theme, 8)]
    for number, (field, name, style) in enumerate(_TWO):
        moved = [point.moved(aside(number, 2)) for point in points]
        accuracies.append(line(moved, field, name, style, theme, rank=number, whiskers=True))
    role = ROLES["difference"]
    gap = [level(0.0, whole, "No gap", ROLES["chance"], theme, 9), *band(points, "gap", role, "gap", 0.2)]
    name = "Gap" + interval_words(report, points, "gap")
    gap.append(line(points, "gap", name, role, theme, rank=3, group="gap", p="p_max"))
    gap[0].showlegend = False
    figure = go.Figure()
    for panel, traces in ((left, accuracies), (right, lines_on_top(gap))):
        for trace in traces:
            trace.update(xaxis=panel.x, yaxis=panel.y)
            figure.add_trace(trace)
    one_legend_entry_each(figure)
    ticks = [depth_ticks(points, panel, theme) for panel in frame.panels]
    title = f"{report.title}, read at {html.escape(str(mark))}"
    frame.apply(figure, title, DEPTH_AXIS, ["", ""], ticks, [limits(figure, panel.y) for panel in frame.panels])
    return figure

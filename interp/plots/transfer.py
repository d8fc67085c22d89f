"""``transfer_by_depth``: does a probe that was fitted on one way of memorising read the other?"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .depths import DEPTH_AXIS, choose, depth_points, depth_ticks
from .doses import doses
from .frame import panel_frame
from .series import aside, level, limits, line, one_legend_entry_each, span
from .themes import ROLES, SERIES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def transfer_by_depth(
    report: Report, dose: Any = None, theme: str | Theme = "screen", width: float | None = None
) -> Figure:
    """AUC by depth, one panel per regime that is tested, one line per regime that the probe was fitted on.

    Without ``dose`` the highest one is drawn. Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"train": "natural", "test": t, "dose": 8, "depth": d, "auc": 0.6}
    ...         for t in ("natural", "injected") for d in range(4)]
    >>> made = Report("transfer", "Transfer", "It carries over.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in transfer_by_depth(made, theme="paper").data if trace.showlegend]
    ['Chance', 'Fitted on natural']

    Raises:
        ReportError: the report is not of kind "transfer", or has no row of that dose.
    """
    import plotly.graph_objects as go

    if report.kind != "transfer":
        raise ReportError(f"transfer_by_depth draws reports of kind 'transfer', not {report.kind!r}")
    if missing := [c for c in ("train", "test", "auc") if c not in report.columns]:
        raise ReportError(f"this 'transfer' report has no column {missing[0]!r} to draw")
    dose = choose(report, "dose", dose, doses(report)[::-1])
    theme = get_theme(theme)
    trained, tested = (list(dict.fromkeys(map(str, report.column(name)))) for name in ("train", "test"))
    if len(trained) > len(SERIES):
        raise ReportError(f"{len(trained)} regimes to fit on are too many for one figure; select rows of at most 6")
    frame = panel_frame(theme, [f"Tested on {html.escape(name)}" for name in tested], width)
    figure, ticks = go.Figure(), []
    for panel, test in zip(frame.panels, tested, strict=True):
        lines = [depth_points(report, f"{fit} to {test}, ", train=fit, test=test, dose=dose) for fit in trained]
        every = [point for points in lines for point in points]
        chance = level(0.5, span(every), "Chance", ROLES["chance"], theme, 8)
        figure.add_trace(chance.update(xaxis=panel.x, yaxis=panel.y))
        for number, (fit, points) in enumerate(zip(trained, lines, strict=True)):
            if not points:
                continue
            moved = [point.moved(aside(number, len(trained))) for point in points]
            name = f"Fitted on {html.escape(fit)}"
            trace = line(moved, "auc", name, SERIES[number], theme, rank=number, whiskers=True, p="p")
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
        ticks.append(depth_ticks(every, panel, theme))
    one_legend_entry_each(figure)
    words = "" if dose is None else f", records shown {dose:g} times"
    frame.apply(figure, f"{report.title}{words}", DEPTH_AXIS, "AUC", ticks, limits(figure))
    return figure

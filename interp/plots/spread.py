"""``domain_tables`` and ``likeness_against_loss``: which domains are alike, and which lose refusal together."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, Panel, panel_frame
from .heads import DIVERGING
from .series import Point, hover, limits
from .themes import PALETTE, SERIES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# From nothing to much, readable in grey.
RISING = [[0.0, "#ffffff"], [0.5, "#7fb8d8"], [1.0, "#0072b2"]]
_WORDS = {"t_inst": "end of the request", "t_post": "end of the prompt"}


def domain_tables(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Two tables of domains: their likeness in early layers, and what one loses when another is unlearned.

    Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> meta = {"domains": ["a", "b"], "entanglement": {"t_inst, early": [[1, -1], [-1, 1]]}, "loss": [[9, 1], [2, 8]]}
    >>> made = Report("spread", "Spread", "It does.", [], Provenance("a1", "tiny"), meta=meta)
    >>> [trace.type for trace in domain_tables(made, theme="paper").data]
    ['heatmap', 'heatmap']

    Raises:
        ReportError: the report is not of kind "spread", or lacks the tables.
    """
    import plotly.graph_objects as go

    if report.kind != "spread":
        raise ReportError(f"domain_tables draws reports of kind 'spread', not {report.kind!r}")
    names, alike, loss = (report.meta.get(k) for k in ("domains", "entanglement", "loss"))
    if not (isinstance(names, list) and isinstance(alike, dict) and alike and isinstance(loss, list)):
        raise ReportError("this 'spread' report lacks its tables of domains")
    theme = get_theme(theme)
    which = next((k for k in alike if k.endswith("early")), next(iter(alike)))
    mark = _WORDS.get(which.split(",")[0], which.split(",")[0])
    titles = [f"Alike in early layers, {mark}", "Refusal lost, log odds"]
    frame = panel_frame(theme, titles, width, own_y=True)
    figure = go.Figure()
    most = max(max(row) for row in loss) or 1.0
    looks = ((alike[which], DIVERGING, -1.0, 1.0, ".1f"), (loss, RISING, 0.0, most, ".1f"))
    for panel, (table, colours, low, high, form) in zip(frame.panels, looks, strict=True):
        text = [[format(v, form).replace("-", "−") for v in row] for row in table]
        said = [
            [f"{a} and {b}: {v:.2f}" for b, v in zip(names, row, strict=True)]
            for a, row in zip(names, table, strict=True)
        ]
        figure.add_trace(
            go.Heatmap(
                z=table[::-1], x=list(range(len(names))), y=list(range(len(names))), colorscale=colours, zmin=low,
                zmax=high, xgap=1, ygap=1, showscale=False, hoverinfo="text", hovertext=said[::-1], text=text[::-1],
                texttemplate="%{text}", textfont={"size": theme.font_size * 0.85}, xaxis=panel.x, yaxis=panel.y,
            )
        )  # fmt: skip
    long = max(len(str(name)) for name in names)
    frame.dress(figure, report.title, left=0.6 * long + 1.5, bottom=0.6 * long + 2.2)
    figure.update_layout(showlegend=False)
    for panel, titles_ in zip(frame.panels, (("Domain", "Domain"), ("Measured", "Unlearned")), strict=True):
        below = any(p.column == panel.column and p.row > panel.row for p in frame.panels)
        _names(figure, frame, panel, names, titles_, below)
    return figure


def _names(
    figure: Figure, frame: Any, panel: Panel, names: Sequence[Any], titles: tuple[str, str], below: bool
) -> None:
    """Name both axes; only the lowest of panels above one another has names below it."""
    shown, places = [html.escape(str(name)) for name in names], list(range(len(names)))
    reach = (-0.5, len(names) - 0.5)
    first = panel.column == 0
    frame.draw_axes(
        figure, panel, Axis(reach, "" if below else titles[0], places, shown, labelled=not below),
        Axis(reach, titles[1] if first else "", places, shown[::-1], labelled=first),
    )  # fmt: skip
    figure.update_layout({f"{panel.x[0]}axis{panel.x[1:]}": {"tickangle": -45}})


def likeness_against_loss(
    report: Report, third: str = "early", theme: str | Theme = "screen", width: float | None = None
) -> Figure:
    """Each ordered pair of domains by likeness and by loss, one panel per mark, named where most is lost.

    Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"unlearned": "a", "measured": "b", "own": False, "t_inst_early": 0.5, "loss": 3.0}]
    >>> made = Report("spread-pairs", "Pairs", "They do.", rows, Provenance("a1", "tiny"), meta={"marks": ["t_inst"]})
    >>> len(likeness_against_loss(made, theme="paper").data)
    1

    Raises:
        ReportError: the report is not of kind "spread-pairs", or has no pair of different domains.
    """
    import plotly.graph_objects as go

    rows = [row for row in report.rows if not row.get("own")]
    if report.kind != "spread-pairs" or not rows:
        raise ReportError(f"likeness_against_loss draws 'spread-pairs' reports with pairs, not {report.kind!r}")
    theme = get_theme(theme)
    marks = [str(m) for m in report.meta.get("marks", ["t_inst"])]
    titles = [f"Likeness at the {_WORDS.get(mark, mark)}" for mark in marks]
    frame = panel_frame(theme, titles, width, own_y=True)
    figure = go.Figure()
    for panel, mark in zip(frame.panels, marks, strict=True):
        points = [Point(row[f"{mark}_{third}"], f"{row['unlearned']} → {row['measured']}", row) for row in rows]
        look = SERIES[0]
        figure.add_trace(
            go.Scatter(
                x=[p.x for p in points], y=[p.value("loss") for p in points], mode="markers", showlegend=False,
                marker={"color": look.hex, "symbol": look.symbol, "size": theme.marker_size}, name="Pairs of domains",
                hoverinfo="text", hovertext=[hover(p, "loss") for p in points], xaxis=panel.x, yaxis=panel.y,
                error_y=_whiskers(points, theme), cliponaxis=False,
            )
        )  # fmt: skip
        for point in sorted(points, key=lambda p: -p.value("loss"))[:2]:
            _label(figure, panel, point, theme)
    frame.dress(figure, report.title)
    figure.update_layout(showlegend=False)
    tall = limits(figure)
    for panel in frame.panels:
        xs = [v for trace in figure.data if trace.xaxis == panel.x for v in trace.x]
        room = 0.08 * (max(xs) - min(xs) or 1.0)
        x = Axis((min(xs) - room, max(xs) + room), f"Cosine, {third} layers", line=True)
        frame.draw_axes(figure, panel, x, Axis(tall, "Refusal lost, log odds" if panel.column == 0 else "", grid=True))
    return figure


def _whiskers(points: Sequence[Point], theme: Theme) -> dict[str, Any]:
    from .series import error_bar

    high = [p.value("loss_hi") - p.value("loss") for p in points]
    low = [p.value("loss") - p.value("loss_lo") for p in points]
    return error_bar(high, low, SERIES[0], theme)


def _label(figure: Figure, panel: Panel, point: Point, theme: Theme) -> None:
    figure.add_annotation(
        text=html.escape(point.name), x=point.x, y=point.value("loss"), xref=panel.x, yref=panel.y, xanchor="right",
        yanchor="middle", xshift=-theme.marker_size, showarrow=False,
        font={"size": theme.font_size * 0.85, "color": PALETTE["muted"]},
    )  # fmt: skip

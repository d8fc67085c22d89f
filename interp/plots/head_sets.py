"""``sets_beside_random``: what taking out chosen heads does, in several ways, beside as many random heads."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, rows_frame
from .series import Point, error_bar, hover, one_legend_entry_each
from .themes import PALETTE, ROLES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_CHOSEN, _RANDOM = ROLES["result"], Style("muted", symbol="circle-open")
_ROW = {"retrieval-masks": "mask", "conflict-pruned": "pruned"}
_TITLE = {
    "retrieval-masks": "Change of the share of the needle that is written",
    "conflict-pruned": "Change of the other answer's lead, nats",
}
_NAMES = {
    "zero_z": "Writes nothing", "mean_z": "Writes its mean", "uniform_causal": "Looks everywhere",
    "true_mask": "Needle hidden", "memory": "Memory heads out", "context": "Context heads out",
}  # fmt: skip


def sets_beside_random(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """One line per way or set: the chosen heads with their interval, random ones with the middle 95 % of draws.

    >>> from interp.provenance import Provenance
    >>> rows = [{"mask": "zero_z", "effect": -0.9, "effect_lo": -1.0, "effect_hi": -0.8, "random": -0.1}]
    >>> made = Report("retrieval-masks", "Masks", "It is lost.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in sets_beside_random(made, theme="paper").data]
    ['Chosen heads', 'Random heads']

    Raises:
        ReportError: a report of another kind, or without rows.
    """
    import plotly.graph_objects as go

    if report.kind not in _ROW or not report.rows:
        raise ReportError(f"sets_beside_random draws reports of kind {' or '.join(_ROW)}, not {report.kind!r}")
    theme = get_theme(theme)
    names = [_NAMES.get(str(row[_ROW[report.kind]]), html.escape(str(row[_ROW[report.kind]]))) for row in report.rows]
    frame = rows_frame(theme, [_TITLE[report.kind]], names, width)
    figure, [panel] = go.Figure(), frame.panels
    for rank, (field, name, style, aside) in enumerate(
        (("effect", "Chosen heads", _CHOSEN, -0.12), ("random", "Random heads", _RANDOM, 0.12))
    ):
        figure.add_trace(
            _dots(report, names, field, name, style, aside, theme, rank).update(xaxis=panel.x, yaxis=panel.y)
        )
    one_legend_entry_each(figure)
    frame.dress(figure, report.title, left=frame.left, bottom=2.4)
    ends = [0.0, *(float(row[k]) for row in report.rows for k in _ENDS if isinstance(row.get(k), (int, float)))]
    room = max(0.06 * (max(ends) - min(ends)), 0.02)
    rows = Axis((len(names) - 0.4, -0.6), places=list(range(len(names))), texts=names, grid=True)
    frame.draw_axes(figure, panel, Axis((min(ends) - room, max(ends) + room), grid=True, line=True), rows)
    figure.add_shape(
        type="line", x0=0, x1=0, y0=0, y1=1, xref=panel.x, yref=f"{panel.y} domain", layer="below",
        line={"color": PALETTE["muted"], "width": theme.line_width * 0.5},
    )  # fmt: skip
    return figure


_ENDS = ("effect", "effect_lo", "effect_hi", "random", "random_lo", "random_hi")


def _dots(
    report: Report, names: list[str], field: str, name: str, style: Style, aside: float, theme: Theme, rank: int
) -> Any:
    import plotly.graph_objects as go

    rows = enumerate(zip(names, report.rows, strict=True))
    points = [Point(i + aside, f"{n}, {name.lower()}", row) for i, (n, row) in rows]
    values = [p.value(field) for p in points]
    up = [p.value(f"{field}_hi") - v for p, v in zip(points, values, strict=True)]
    down = [v - p.value(f"{field}_lo") for p, v in zip(points, values, strict=True)]
    return go.Scatter(
        x=values, y=[p.x for p in points], mode="markers", name=name, legendgroup=name, legendrank=rank,
        marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size}, hoverinfo="text",
        hovertext=[hover(p, field, "p" if field == "effect" else None) for p in points], cliponaxis=False,
        error_x=error_bar(up, down, style, theme) | {"width": theme.marker_size * 0.3},
    )  # fmt: skip

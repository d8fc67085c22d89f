"""``guard_roc``: what a guard by harm beliefs catches at every threshold, beside what the model itself refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ReportError
from ..report import Report
from .frame import panel_frame
from .themes import ROLES, SERIES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def guard_roc(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """The ROC curve of the guard on test requests, its calibrated threshold, and the model's own refusals as a point.

    >>> from interp.provenance import Provenance
    >>> meta = {"roc": [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]}
    >>> made = Report("guard", "Guard", "It catches all.", [{"role": "harmful"}], Provenance("a1", "tiny"), meta=meta)
    >>> [trace.name for trace in guard_roc(made, theme="paper").data]
    ['Chance', 'Guard']

    Raises:
        ReportError: the report is not of kind "guard", or has no curve.
    """
    import plotly.graph_objects as go

    roc = report.meta.get("roc")
    if report.kind != "guard" or not isinstance(roc, list) or not roc:
        raise ReportError("guard_roc draws reports of kind 'guard' that have a curve")
    theme = get_theme(theme)
    frame = panel_frame(theme, [""], width)
    figure = go.Figure()
    thin = {"color": ROLES["chance"].hex, "width": theme.line_width * 0.5}
    figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="Chance", line=thin, legendrank=9))
    area = report.meta.get("auroc")
    name = "Guard" if area is None else f"Guard, AUROC {area:.2f}"
    curve = {"color": ROLES["result"].hex, "width": theme.line_width}
    xs, ys = ([float(point[k]) for point in roc] for k in (0, 1))
    figure.add_trace(
        go.Scatter(x=xs, y=ys, mode="lines", name=name, line=curve, legendrank=1, cliponaxis=False, hoverinfo="text",
                   hovertext=[f"flags {y:.3f} of harmful and {x:.3f} of harmless" for x, y in roc])
    )  # fmt: skip
    for rank, (field, label) in enumerate((("flagged", "Guard at its threshold"), ("refused", "Model refuses"))):
        point = _rates(report, field)
        if point is not None:
            style = SERIES[rank]
            figure.add_trace(
                go.Scatter(
                    x=[point[0]], y=[point[1]], mode="markers", name=label, legendrank=rank + 2, hoverinfo="text",
                    hovertext=[f"{label}: {point[1]:.3f} of harmful and {point[0]:.3f} of harmless"], cliponaxis=False,
                    marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size * 1.5},
                )
            )  # fmt: skip
    places = [0.0, 0.25, 0.5, 0.75, 1.0]
    ticks = ((-0.03, 1.03), places, [f"{v:g}" for v in places])
    frame.apply(figure, report.title, "Harmless requests flagged", "Harmful requests flagged", [ticks], (-0.03, 1.03))
    return figure


def _rates(report: Report, field: str) -> tuple[float, float] | None:
    """Shares of harmless and of harmful requests, over all roles, from the rows that hold a whole role."""
    shares = []
    for side in (False, True):
        rows = [r for r in report.rows if r.get("category") is None and r.get("harmful") == side and field in r]
        total = sum(r["requests"] for r in rows)
        if not total:
            return None
        shares.append(sum(r[field] * r["requests"] for r in rows) / total)
    return shares[0], shares[1]

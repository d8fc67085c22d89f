"""``effects_beside_controls``: what edits do and cost, each as a dot, beside the same edits of something else."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, Panel, rows_frame
from .series import Point, error_bar, hover, one_legend_entry_each
from .themes import PALETTE, ROLES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

KINDS = ("ablation", "side-effects")
_COSTS = {"kl": "KL, neutral text", "ce_change": "Loss, neutral text", "nll": "Surprise"}
_BESIDE = ("random ", "control ")  # how controls' names begin
_EDITED = ROLES["result"]
_CONTROL = Style("muted", symbol="circle-open")


def effects_beside_controls(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """One line for each thing that was done and one for all controls; a panel for the effect and for each cost.

    >>> from interp.provenance import Provenance
    >>> rows = [{"arm": "unedited", "effect": 0.0}, {"arm": "ablated", "effect": -3.0}]
    >>> rows += [{"arm": f"control {i}", "effect": -0.1 * i} for i in range(3)]
    >>> made = Report("ablation", "Ablation", "It matters.", rows, Provenance("a1", "tiny"))
    >>> list(effects_beside_controls(made, theme="paper").layout.yaxis.ticktext)
    ['Ablated', '3 controls']

    Raises:
        ReportError: a report of another kind, or without an effect or cost.
    """
    import plotly.graph_objects as go

    if report.kind not in KINDS:
        raise ReportError(f"effects_beside_controls draws reports of kind {' or '.join(KINDS)}, not {report.kind!r}")
    metric, unit = (html.escape(str(report.meta.get(k, k))) for k in ("metric", "metric_unit"))
    panels = {"effect": f"Change of the {metric}, {unit}", **_COSTS}
    done = [row for row in report.rows if row.get("arm") != "unedited" and not _is_control(row)]
    controls = [row for row in report.rows if _is_control(row)]
    fields = [name for name in panels if any(isinstance(row.get(name), (int, float)) for row in done)]
    if not fields:
        raise ReportError(f"this {report.kind!r} report has none of: {', '.join(panels)}")
    theme = get_theme(theme)
    names = [_name(row) for row in done]
    names += [f"{len(controls)} controls"] if controls else []
    frame = rows_frame(theme, [panels[name] for name in fields], names, width)
    figure = go.Figure()
    for panel, field in zip(frame.panels, fields, strict=True):
        for trace in _traces(done, controls, field, theme):
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
    one_legend_entry_each(figure)
    frame.dress(figure, report.title, left=frame.left, bottom=2.4)
    for panel in frame.panels:
        _axes(figure, frame, panel, names, theme)
    return figure


def _is_control(row: Mapping[str, Any]) -> bool:
    return str(row.get("arm")).startswith(_BESIDE)


def _name(row: Mapping[str, Any]) -> str:
    text = html.escape(str(row.get("arm")))
    return f"{text[:1].upper()}{text[1:]}"


def _traces(
    done: Sequence[Mapping[str, Any]], controls: Sequence[Mapping[str, Any]], field: str, theme: Theme
) -> list[Any]:
    points = [Point(float(i), _name(row), row) for i, row in enumerate(done)]
    traces = [_dots(points, field, "Edited", _EDITED, theme, 1.0, whiskers=True, rank=1)]
    if controls:
        # In rows of five above one another, so that dots of the same value can be told apart.
        beside = [Point(len(done) + 0.14 * (i % 5 - 2), _name(row), row) for i, row in enumerate(controls)]
        traces.append(_dots(beside, field, "Controls, one dot each", _CONTROL, theme, 0.8, whiskers=False, rank=2))
    return traces


def _dots(
    points: Sequence[Point], field: str, name: str, style: Style, theme: Theme, size: float, *, whiskers: bool,
    rank: int,
) -> Any:  # fmt: skip
    import plotly.graph_objects as go

    values = [p.value(field) for p in points]
    trace = go.Scatter(
        x=[None if math.isnan(v) else v for v in values], y=[p.x for p in points], mode="markers",
        marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size * size}, name=name,
        legendgroup=name, legendrank=rank, hoverinfo="text", hovertext=[hover(p, field, "p") for p in points],
        cliponaxis=False,
    )  # fmt: skip
    up = [p.value(f"{field}_hi") - v for p, v in zip(points, values, strict=True)]
    down = [v - p.value(f"{field}_lo") for p, v in zip(points, values, strict=True)]
    if whiskers and any(not math.isnan(v) for v in up):
        trace.error_x = error_bar(up, down, style, theme) | {"width": theme.marker_size * 0.3}
    return trace


def _axes(figure: Figure, frame: Any, panel: Panel, names: Sequence[str], theme: Theme) -> None:
    values = [0.0]
    for trace in figure.data:
        if (trace.xaxis or "x") != panel.x:
            continue
        values += [v for v in trace.x if v is not None]
        for side, sign in ((trace.error_x.array, 1), (trace.error_x.arrayminus, -1)):
            if side is not None:
                values += [v + sign * e for v, e in zip(trace.x, side, strict=True) if v is not None and e is not None]
    room = max(0.06 * (max(values) - min(values)), (0.04 - max(values) + min(values)) / 2)
    reach = (min(values) - room, max(values) + room)
    most = max(3, int(panel.width / (3.6 * theme.font_size)))
    rows = Axis((len(names) - 0.4, -0.6), places=list(range(len(names))), texts=names, grid=True,
                labelled=panel.column == 0)  # fmt: skip
    frame.draw_axes(figure, panel, Axis(reach, grid=True, line=True, most=most), rows)
    figure.add_shape(
        type="line", x0=0, x1=0, y0=0, y1=1, xref=panel.x, yref=f"{panel.y} domain", layer="below",
        line={"color": PALETTE["muted"], "width": theme.line_width * 0.5},
    )  # fmt: skip

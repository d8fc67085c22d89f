"""``head_grid``: what each head, and each MLP, adds to a reading, as a grid by layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, Frame, Panel, panel_frame
from .themes import PALETTE, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Against refusing in blue, for it in vermillion, nothing in white; Okabe and Ito's two safest.
# Blue gets darker than vermillion does, so that a greyscale print tells the two apart.
DIVERGING = [[0.0, "#00457a"], [0.25, "#5fa3cf"], [0.5, "#ffffff"], [0.75, "#f2bf98"], [1.0, "#e27a2f"]]
_MARKED = 3
_WRITTEN = 200  # cells whose numbers still fit


def head_grid(
    report: Report, field: str = "contribution", theme: str | Theme = "screen", width: float | None = None,
    unit: str | None = None,
) -> Figure:  # fmt: skip
    """Heads by layer, coloured by what each adds, and MLPs beside them if the report has some.

    ``unit`` is what the scale is labelled with, the report's own if it is left out. Framed are the rows that are
    ``chosen``, or the three lowest ranks. Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"layer": i, "head": h, "contribution": i - h, "rank": 1} for i in range(2) for h in range(3)]
    >>> made = Report("cliff-heads", "Heads", "One is low.", rows, Provenance("a1", "tiny"))
    >>> head_grid(made, theme="paper").data[0].type
    'heatmap'

    Raises:
        ReportError: no row is of a head, or none has the field.
    """
    import plotly.graph_objects as go

    rows = [r for r in report.rows if isinstance(r.get("head"), int) and isinstance(r.get("layer"), int)]
    if not rows or field not in report.columns:
        raise ReportError(f"this report has no heads with {field!r} to draw")
    theme = get_theme(theme)
    heads = 1 + max(r["head"] for r in rows)
    # An empty column between heads and MLPs.
    rows += [{**r, "head": heads + 1} for r in report.rows if r.get("kind") == "MLP"]
    layers, columns = 1 + max(r["layer"] for r in rows), 1 + max(r["head"] for r in rows)
    grid: list[list[float | None]] = [[None] * columns for _ in range(layers)]
    hover = [[""] * columns for _ in range(layers)]
    for row in rows:
        name = "MLP" if row["head"] > heads else f"head {row['head']}"
        grid[row["layer"]][row["head"]] = row.get(field)
        hover[row["layer"]][row["head"]] = f"layer {row['layer']}, {name}: {row.get(field):.3g}"
    reach = max((abs(v) for line in grid for v in line if v is not None and math.isfinite(v)), default=1.0) or 1.0
    frame = panel_frame(theme, [""], width or (theme.width if columns <= 16 else theme.wide))
    frame = Frame(theme, frame.width, (_narrower(frame.panels[0]),), 1, theme.font_size * max(2.2 * layers, 8))
    figure = go.Figure(
        go.Heatmap(
            z=grid, x=list(range(columns)), y=list(range(layers)), colorscale=DIVERGING, zmin=-reach, zmax=reach,
            xgap=1, ygap=1, hoverinfo="text", hovertext=hover, showscale=False, **_numbers(grid, theme),
        )
    )  # fmt: skip
    frame.dress(figure, report.title)
    figure.update_layout(showlegend=False)
    [panel] = frame.panels
    step = max(1, math.ceil(heads / 16))
    shown = list(range(0, heads, step))
    names = [str(h) for h in shown] + ["MLP"] * (columns > heads)
    x = Axis((-0.5, columns - 0.5), "Head", shown + [heads + 1] * (columns > heads), names)
    tall = max(1, math.ceil(layers / 24))
    y = Axis((-0.5, layers - 0.5), "Layer", list(range(0, layers, tall)), [str(i) for i in range(0, layers, tall)])
    frame.draw_axes(figure, panel, x, y)
    _scale(figure, frame, reach, unit or str(report.meta.get("unit", field)))
    for row in rows:
        if row.get("chosen", isinstance(row.get("rank"), int) and row["rank"] <= _MARKED):
            _frame_cell(figure, panel, row, theme)
    return figure


def _scale(figure: Figure, frame: Frame, reach: float, unit: str) -> None:
    """The colours' scale as a panel of its own: a colour bar would be a picture of pixels."""
    import plotly.graph_objects as go

    steps = [reach * (k / 10 - 1) for k in range(21)]
    figure.add_trace(
        go.Heatmap(
            z=[[v] for v in steps], x=[0], y=steps, colorscale=DIVERGING, zmin=-reach, zmax=reach, showscale=False,
            hoverinfo="skip", xaxis="x2", yaxis="y2",
        )
    )  # fmt: skip
    panel = Panel("x2", "y2", 1, 0, (0.87, 0.9), (0.0, 1.0), 1.0, "")
    texts = [f"−{reach:.2g}", "0", f"{reach:.2g}"]
    reaches = Axis((-1.05 * reach, 1.05 * reach), unit, [-reach, 0, reach], texts)
    frame.draw_axes(figure, panel, Axis((-0.5, 0.5), labelled=False, places=[], texts=[]), reaches)
    figure.update_layout(yaxis2={"side": "right"})


def _narrower(panel: Panel) -> Panel:
    """Room for the colour bar."""
    return Panel(
        panel.x, panel.y, panel.column, panel.row, (panel.x_domain[0], 0.84), panel.y_domain, panel.width, panel.title
    )  # fmt: skip


def _numbers(grid: list[list[float | None]], theme: Theme) -> dict[str, Any]:
    if len(grid) * len(grid[0]) > _WRITTEN or len(grid[0]) > 12:
        return {}
    text = [["" if v is None else f"{round(v, 1) or 0.0:.1f}".replace("-", "−") for v in line] for line in grid]
    return {"text": text, "texttemplate": "%{text}", "textfont": {"size": theme.font_size * 0.85}}


def _frame_cell(figure: Figure, panel: Panel, row: Any, theme: Theme) -> None:
    x, y, rank = row["head"], row["layer"], row["rank"]
    figure.add_shape(
        type="rect", x0=x - 0.47, x1=x + 0.47, y0=y - 0.47, y1=y + 0.47, xref=panel.x, yref=panel.y,
        line={"color": PALETTE["ink"], "width": theme.line_width * (1.3 if rank == 1 or row.get("chosen") else 0.6)},
    )  # fmt: skip

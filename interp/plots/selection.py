"""``candidate_grid`` and ``judged_direction``: candidates by position and layer, the chosen one beside random ones."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, Frame, Panel, rows_frame
from .heads import DIVERGING
from .series import Point, error_bar, hover, interval_words
from .themes import PALETTE, ROLES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_PALE = [[0.0, "#ffffff"], [0.5, "#d5b4cd"], [1.0, "#8a3a70"]]
_WRITTEN = 14  # layers up to which numbers fit into the cells


@dataclass(frozen=True)
class _Field:
    """One of the grids; ``centre`` is where colours turn, ``None`` where they only deepen."""

    name: str
    title: str
    unit: str
    centre: float | None


_FIELDS = (
    _Field("bypass", "Taken out: score of harmful prompts (the lower the better)", "score", 0.0),
    _Field("induce", "Added: score of harmless prompts (must reach 0)", "score", 0.0),
    _Field("kl", "Taken out: KL on harmless prompts", "nats", None),
)


def candidate_grid(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Bypass, induce and KL of every candidate as grids of positions and layers; the chosen one is framed.

    Crosses mark candidates that a limit rules out, a dotted line the first layer that may not be chosen. Nothing is
    computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"layer": i, "mark": "post-1", "bypass": -i, "induce": i, "kl": 0.1} for i in range(4)]
    >>> made = Report("selection", "Candidates", "One is good.", rows, Provenance("a1", "tiny"))
    >>> [trace.type for trace in candidate_grid(made, theme="paper").data]
    ['heatmap', 'heatmap', 'heatmap']

    Raises:
        ReportError: the report is not of kind "selection", or has no candidates.
    """
    import plotly.graph_objects as go

    if report.kind != "selection" or not report.rows:
        raise ReportError(f"candidate_grid draws the candidates of a 'selection', this {report.kind!r} report has none")
    theme = get_theme(theme)
    marks = list(dict.fromkeys(str(row.get("mark")) for row in report.rows))
    layers = 1 + max(int(row["layer"]) for row in report.rows)
    frame = _stacked(theme, [field.title for field in _FIELDS], marks, layers, width)
    figure = go.Figure()
    for panel, field in zip(frame.panels, _FIELDS, strict=True):
        figure.add_trace(_grid(report, field, marks, layers, panel, frame).update(xaxis=panel.x, yaxis=panel.y))
    figure.update_traces(showlegend=False)
    frame.dress(figure, report.title, left=frame.left)
    step = next(
        s for s in (1, 2, 4, 5, 10, 20, 50, 100) if layers / s <= frame.panels[0].width / (2.2 * theme.font_size)
    )
    places = [float(v) for v in range(0, layers, step)]
    for panel in frame.panels:
        last = panel.row == len(frame.panels) - 1
        x = Axis((-0.5, layers - 0.5), "Layer" if last else "", places, [f"{v:g}" for v in places])
        y = Axis((len(marks) - 0.5, -0.5), "", list(range(len(marks))), [html.escape(m) for m in marks])
        frame.draw_axes(figure, panel, x, y)
        _mark_cells(figure, report, panel, marks, layers, theme)
    return figure


def _stacked(theme: Theme, titles: Sequence[str], marks: Sequence[str], layers: int, width: float | None) -> Frame:
    """Panels below one another, a cell of the grid as high as two lines of text, with room for colour bars."""
    size = theme.font_size
    full = width or (theme.width if layers <= 8 else theme.wide)
    left = 0.62 * max(map(len, marks)) + 1.0
    plot_width = full - size * (left + 0.9)
    high, gap = size * 2.1 * max(len(marks), 2), size * 3.6
    total = len(titles) * high + (len(titles) - 1) * gap
    panels = []
    for row, title in enumerate(titles):
        top = 1 - row * (high + gap) / total
        name = str(row + 1) if row else ""
        room = 1 - 5.2 * size / plot_width  # for the colour bar
        short = title if len(title) * size * 0.56 < plot_width else title.split(":")[0]
        down = (max(top - high / total, 0.0), top)
        panels.append(Panel(f"x{name}", f"y{name}", 0, row, (0.0, room), down, plot_width * room, short))
    return Frame(theme, full, tuple(panels), len(titles), total, left)


def _grid(report: Report, field: _Field, marks: Sequence[str], layers: int, panel: Panel, frame: Frame) -> Any:
    import plotly.graph_objects as go

    cells: list[list[float | None]] = [[None] * layers for _ in marks]
    tips = [[""] * layers for _ in marks]
    for row in report.rows:
        at, value = marks.index(str(row.get("mark"))), row.get(field.name)
        there = isinstance(value, (int, float)) and math.isfinite(value)
        cells[at][row["layer"]] = float(value) if there else None
        about = f"{row.get('mark')}, layer {row['layer']}: {field.name} {value:.3g}" if there else ""
        tips[at][row["layer"]] = html.escape(f"{about}; {row.get('reason')}" if about else str(row.get("reason")))
    known = [v for line in cells for v in line if v is not None] or [0.0]
    size = frame.theme.font_size
    if field.centre is None:
        limit = report.meta.get("kl_limit")
        most = 3 * limit if isinstance(limit, (int, float)) else max(known)
        scale: dict[str, Any] = {"colorscale": _PALE, "zmin": 0.0, "zmax": max(min(max(known), most), 1e-9)}
        over = "≥" if max(known) > scale["zmax"] else ""
        ticks = {"tickvals": [0, scale["zmax"]], "ticktext": ["0", f"{over}{scale['zmax']:.2g}"]}
    else:
        reach = max(abs(v) for v in known) or 1.0
        scale = {"colorscale": DIVERGING, "zmin": -reach, "zmax": reach}
        ticks = {"tickvals": [-reach, 0, reach], "ticktext": [f"−{reach:.2g}", "0", f"{reach:.2g}"]}
    written = {}
    if layers <= _WRITTEN and panel.width / layers > 3.4 * size * 0.85:
        text = [["" if v is None else _short(v) for v in line] for line in cells]
        written = {"text": text, "texttemplate": "%{text}", "textfont": {"size": size * 0.82}}
    centre = (panel.y_domain[0] + panel.y_domain[1]) / 2
    bar = {"title": {"text": field.unit}, "thickness": size * 0.8, "outlinewidth": 0, "y": centre,
           "len": panel.y_domain[1] - panel.y_domain[0], "x": panel.x_domain[1] + 0.01, **ticks}  # fmt: skip
    return go.Heatmap(
        z=cells, x=list(range(layers)), y=list(range(len(marks))), xgap=1, ygap=1, hoverinfo="text", hovertext=tips,
        colorbar=bar, **scale, **written,
    )  # fmt: skip


def _short(value: float) -> str:
    text = f"{value:.1f}" if abs(value) >= 0.1 else f"{value:.1g}" if abs(value) >= 0.001 else "0"
    return text.replace("-", "−").replace("0.0", ".0")


def _mark_cells(figure: Figure, report: Report, panel: Panel, marks: Sequence[str], layers: int, theme: Theme) -> None:
    """Frames the chosen candidate, puts a cross at those that a limit rules out, and a line before barred layers."""
    import plotly.graph_objects as go

    out = []
    for row in report.rows:
        x, y = row["layer"], marks.index(str(row.get("mark")))
        if row.get("chosen"):
            figure.add_shape(
                type="rect", x0=x - 0.46, x1=x + 0.46, y0=y - 0.46, y1=y + 0.46, xref=panel.x, yref=panel.y,
                line={"color": PALETTE["ink"], "width": theme.line_width * 1.2},
            )  # fmt: skip
        elif "legal" not in str(row.get("reason", "legal")):
            out.append((x + 0.38, y - 0.28))
    if out:
        cross = {"symbol": "x", "size": theme.marker_size * 0.75, "color": PALETTE["ink"]}
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in out], y=[y for _, y in out], mode="markers", marker=cross, showlegend=False,
                hoverinfo="skip", xaxis=panel.x, yaxis=panel.y, name="Ruled out",
            )
        )  # fmt: skip
    barred = report.meta.get("first_barred")
    if isinstance(barred, int) and 0 < barred < layers:
        figure.add_shape(
            type="line", x0=barred - 0.5, x1=barred - 0.5, y0=0, y1=1, xref=panel.x, yref=f"{panel.y} domain",
            line={"color": PALETTE["ink"], "width": theme.line_width * 0.6, "dash": "2px,2px"},
        )  # fmt: skip


# ---- the chosen one on test prompts

_ARMS = {
    "none": ("As it is", Style("muted", symbol="circle-open")),
    "selected": ("Selected", ROLES["result"]),
    "random": ("Random", Style("vermillion", symbol="square-open")),
    "shuffled labels": ("Shuffled labels", Style("orange", symbol="diamond-open")),
}
_PANELS = (
    ("harmful", "ablate", "score", ("Harmful prompts, direction taken out: refusal score", "Taken out, harmful")),
    ("harmless", "add", "score", ("Harmless, direction added: score", "Added, harmless")),
    ("harmless", "ablate", "kl", ("Harmless, taken out: KL", "Taken out: KL")),
)


def judged_direction(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Refusal scores of test prompts under the chosen direction, beside random directions of its length.

    >>> from interp.provenance import Provenance
    >>> rows = [{"prompts": "harmful", "act": a, "direction": d, "score": s}
    ...         for a, d, s in (("nothing", "none", 5.0), ("ablate", "selected", -4.0), ("ablate", "random", 5.0))]
    >>> made = Report("selection-test", "Test", "It works.", rows, Provenance("a1", "tiny"))
    >>> list(judged_direction(made, theme="paper").layout.yaxis.ticktext)
    ['As it is', 'Selected', 'Random']

    Raises:
        ReportError: a report of another kind, or without a score.
    """
    import plotly.graph_objects as go

    if report.kind != "selection-test" or "score" not in report.columns:
        raise ReportError(f"judged_direction draws reports of kind 'selection-test', not {report.kind!r}")
    theme = get_theme(theme)
    arms = [arm for arm in _ARMS if any(row.get("direction") == arm for row in report.rows)]
    names = [_ARMS[arm][0] for arm in arms]
    shown = [panel for panel in _PANELS if _rows(report, arms, *panel[:2])]
    frame = rows_frame(theme, [title for *_, (title, _) in shown], names, width)
    panels = [
        dataclasses.replace(panel, title=short if len(long) * 0.62 * theme.font_size > panel.width else long)
        for panel, (*_, (long, short)) in zip(frame.panels, shown, strict=True)
    ]
    frame = dataclasses.replace(frame, panels=tuple(panels))
    figure = go.Figure()
    for panel, (prompts, act, field, _) in zip(frame.panels, shown, strict=True):
        found = _rows(report, arms, prompts, act)
        for arm, row in found.items():
            point = Point(float(arms.index(arm)), _ARMS[arm][0], row)
            figure.add_trace(_dot(point, field, arm, theme).update(xaxis=panel.x, yaxis=panel.y))
    figure.update_traces(showlegend=False)
    frame.dress(figure, report.title, left=frame.left, bottom=1.8)
    points = [Point(0.0, "", row) for row in report.rows]
    for panel, (_, _, field, _) in zip(frame.panels, shown, strict=True):
        words = interval_words(report, points, field).removeprefix(", ")
        if words and panel.row == 0 and (len(panel.title) + len(words)) * 0.62 * theme.font_size < panel.width:
            frame.corner(figure, panel, words)
        _scale(figure, frame, panel, names)
    return figure


def _rows(report: Report, arms: Sequence[str], prompts: str, act: str) -> dict[str, Mapping[str, Any]]:
    """The row of each arm; the plain model's has its own act."""
    found = {}
    for arm in arms:
        wanted = (prompts, "nothing" if arm == "none" else act, arm)
        row = next((r for r in report.rows if (r.get("prompts"), r.get("act"), r.get("direction")) == wanted), None)
        if row is not None:
            found[arm] = row
    return found


def _dot(point: Point, field: str, arm: str, theme: Theme) -> Any:
    import plotly.graph_objects as go

    name, style = _ARMS[arm]
    value = point.value(field)
    trace = go.Scatter(
        x=[None if math.isnan(value) else value], y=[point.x], mode="markers", name=name, hoverinfo="text",
        marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size}, cliponaxis=False,
        hovertext=[hover(point, field)],
    )  # fmt: skip
    high, low = point.value(f"{field}_hi"), point.value(f"{field}_lo")
    if not math.isnan(high):
        trace.error_x = error_bar([high - value], [value - low], style, theme) | {"width": theme.marker_size * 0.3}
    return trace


def _scale(figure: Figure, frame: Frame, panel: Panel, names: Sequence[str]) -> None:
    values = [0.0]
    for trace in figure.data:
        if (trace.xaxis or "x") != panel.x or trace.x[0] is None:
            continue
        values.append(trace.x[0])
        if trace.error_x.array is not None:
            values += [trace.x[0] + trace.error_x.array[0], trace.x[0] - trace.error_x.arrayminus[0]]
    room = max(0.06 * (max(values) - min(values)), 0.02)
    most = max(3, int(panel.width / (3.6 * frame.theme.font_size)))
    across = Axis((min(values) - room, max(values) + room), grid=True, line=True, most=most)
    down = Axis((len(names) - 0.4, -0.6), "", list(range(len(names))), names, grid=True, labelled=panel.column == 0)
    frame.draw_axes(figure, panel, across, down)
    figure.add_shape(
        type="line", x0=0, x1=0, y0=0, y1=1, xref=panel.x, yref=f"{panel.y} domain", layer="below",
        line={"color": PALETTE["muted"], "width": frame.theme.line_width * 0.5},
    )  # fmt: skip

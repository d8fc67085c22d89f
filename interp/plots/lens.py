"""``lens_by_depth`` and ``lens_tokens``: how near each depth is to the output, and what it would say."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .depths import DEPTH_AXIS, depth_points, depth_ticks
from .frame import Axis, Frame, panel_frame
from .series import band, interval_words, level, limits, line, lines_on_top, one_legend_entry_each
from .themes import ROLES, SERIES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_LOOKS = {"logit": ("Logit lens", SERIES[1]), "tuned": ("Tuned lens", SERIES[0])}
_PANELS = {"kl": "KL from the output, nats", "log_p": "Log p of the target, nats"}
_SURE = [[0.0, "#ffffff"], [1.0, "#56b4e9"]]
_LONGEST = 9  # letters of a token in its cell


def lens_by_depth(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """KL from the model's output by depth, and the target's log probability; one line per lens.

    The dotted line is the best constant guess. Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"lens": "logit", "depth": i, "kl": 2.0 - i, "log_p": i - 3.0} for i in range(3)]
    >>> made = Report("lens", "Lens", "It nears.", rows, Provenance("a1", "tiny"), meta={"constant_kl": 1.5})
    >>> [trace.name for trace in lens_by_depth(made, theme="paper").data]
    ['Logit lens', 'Best constant guess', 'Logit lens']

    Raises:
        ReportError: the report is not of kind "lens", or holds no rows.
    """
    import plotly.graph_objects as go

    _require(report)
    theme = get_theme(theme)
    lenses = [name for name in _LOOKS if any(row.get("lens") == name for row in report.rows)]
    fields = [f for f in _PANELS if any(isinstance(row.get(f), (int, float)) for row in report.rows)]
    frame = panel_frame(theme, [_PANELS[f] for f in fields], width, own_y=True)
    figure = go.Figure()
    ticks = []
    for panel, field in zip(frame.panels, fields, strict=True):
        traces: list[Any] = []
        for rank, lens in enumerate(lenses):
            name, style = _LOOKS[lens]
            points = depth_points(report, f"{name}, ", lens=lens)
            traces += band(points, field, style, name, 0.16)
            traces.append(line(points, field, name, style, theme, rank=rank))
        points = depth_points(report, lens=lenses[0])
        ticks.append(depth_ticks(points, panel, theme))
        constant = report.meta.get("constant_kl")
        if field == "kl" and isinstance(constant, (int, float)):
            traces.append(level(constant, ticks[-1][0], "Best constant guess", ROLES["null_max"], theme, 5))
        for trace in lines_on_top(traces):
            figure.add_trace(trace.update(xaxis=panel.x, yaxis=panel.y))
    one_legend_entry_each(figure)
    first = next(trace for trace in figure.data if trace.name == _LOOKS[lenses[0]][0])
    first.name += interval_words(report, depth_points(report, lens=lenses[0]), fields[0])
    ranges = [limits(figure, panel.y) for panel in frame.panels]
    frame.apply(figure, report.title, DEPTH_AXIS, [""] * len(fields), ticks, ranges)
    return figure


def lens_tokens(report: Report, lens: str | None = None, theme: str | Theme = "screen") -> Figure:
    """What a lens says first at each depth and token of the first text; darker: surer.

    The row at the top is the model's output. Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> cell = {"lens": "logit", "site": "resid_pre.0", "depth": 0, "column": 0, "token": "a", "says": "b", "p": 0.5}
    >>> made = Report("lens", "Lens", "It nears.", [], Provenance("a1", "tiny"), meta={"text": [cell]})
    >>> [list(row) for row in lens_tokens(made, theme="paper").data[0].text]
    [['b']]

    Raises:
        ReportError: the report is not of kind "lens", or holds no text.
    """
    import plotly.graph_objects as go

    _require(report)
    cells = [c for c in report.meta.get("text") or [] if lens is None or c["lens"] == lens]
    if not cells:
        raise ReportError(f"this report holds no text read by {'a' if lens is None else 'the ' + lens} lens")
    lens = str(cells[-1]["lens"]) if lens is None else lens
    cells = [c for c in cells if c["lens"] == lens]
    theme = get_theme(theme)
    depths, columns = 1 + max(c["depth"] for c in cells), 1 + max(c["column"] for c in cells)
    p: list[list[float | None]] = [[None] * columns for _ in range(depths)]
    says, hover, tokens = [[""] * columns for _ in range(depths)], [[""] * columns for _ in range(depths)], {}
    for c in cells:
        p[c["depth"]][c["column"]] = c["p"]
        says[c["depth"]][c["column"]] = _short(c["says"])
        text = f"after {c['token']!r}, {c['site']}: {c['says']!r} with p = {c['p']:.2f}"
        hover[c["depth"]][c["column"]] = html.escape(text)
        tokens[c["column"]] = _short(c["token"])
    frame = panel_frame(theme, [""], theme.wide)
    size = theme.font_size * min(1.0, 10.5 / columns)
    frame = Frame(theme, frame.width, frame.panels, 1, theme.font_size * max(2.0 * depths, 8))
    figure = go.Figure(
        go.Heatmap(
            z=p, x=list(range(columns)), y=list(range(depths)), colorscale=_SURE, zmin=0, zmax=1, xgap=1, ygap=1,
            hoverinfo="text", hovertext=hover, text=says, texttemplate="%{text}", showscale=False,
            textfont={"size": size, "color": "#20242a"},
        )
    )  # fmt: skip
    frame.dress(figure, report.title, bottom=6.0)
    figure.update_layout(showlegend=False)
    [panel] = frame.panels
    x = Axis((-0.5, columns - 0.5), "Token that is read", list(range(columns)), [tokens[i] for i in range(columns)])
    step = max(1, depths // 24)
    y = Axis((-0.5, depths - 0.5), "Depth", list(range(0, depths, step)), [str(i) for i in range(0, depths, step)])
    frame.draw_axes(figure, panel, x, y)
    figure.update_xaxes(tickangle=-40)
    return figure


def _short(text: Any) -> str:
    text = str(text)
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return html.escape(cut)


def _require(report: Report) -> None:
    if report.kind not in ("lens", "lens-held-out"):
        raise ReportError(f"this figure draws reports of kind 'lens' or 'lens-held-out', not {report.kind!r}")

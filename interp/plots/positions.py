"""``accuracy_by_position``: how well each layer can be read at each position, as a grid."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .colours import AROUND, add_scale, cross_cells, frame_cell, room_for_scale
from .frame import Axis, Frame, Panel, panel_frame
from .themes import Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ALPHA = 0.05
_WORDS = "Tokens"  # the row of the bag of tokens
_CROSSED = "not beyond the best cell of shuffled labels"


def accuracy_by_position(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """AUC by position and layer, beside the same in an untrained model; the best cell is framed.

    The lowest row is a bag of the tokens up to the position, which no model made. Crosses mark cells that the best cell
    of shuffled labels reaches (p of all cells above 0.05). Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"site": f"resid_post.{i}", "mark": m, "auc": 0.5 + i / 10, "p_max": 0.01, "bow_auc": 0.5}
    ...         for i in range(3) for m in ("verb", "last")]
    >>> made = Report("probe-grid", "Grid", "It is read at the end.", rows, Provenance("a1", "tiny"))
    >>> list(accuracy_by_position(made, theme="paper").layout.yaxis.ticktext)
    ['Tokens', '0', '1', '2']

    Raises:
        ReportError: the report is not of kind "probe-grid" or "sweep", or has no cells.
    """
    import plotly.graph_objects as go

    if report.kind not in ("probe-grid", "sweep") or not report.rows:
        raise ReportError(f"accuracy_by_position draws a 'probe-grid' or 'sweep' with cells, not this {report.kind!r}")
    theme = get_theme(theme)
    marks = list(dict.fromkeys(str(row.get("mark")) for row in report.rows))
    sites = list(dict.fromkeys(str(row.get("site")) for row in report.rows))
    control = "untrained_auc" in report.columns
    fields = {"auc": "Trained" if control else ""} | ({"untrained_auc": "Untrained"} if control else {})
    names = ([_WORDS] if "bow_auc" in report.columns else []) + _names(sites)
    tables = {field: _table(report.rows, field, sites, marks) for field in fields}
    known = [v for table in tables.values() for line in table for v in line if v is not None] or [0.5]
    reach = max(0.05, *(abs(v - 0.5) for v in known))
    frame = _frame(theme, list(fields.values()), names, marks, width)
    figure = go.Figure()
    for panel, (field, table) in zip(frame.panels, tables.items(), strict=True):
        figure.add_trace(_cells(table, field, sites, marks, names, (reach, panel), theme))
        bad = _crossed(report.rows, sites, marks, len(names) - len(sites)) if field == "auc" else []
        cross_cells(figure, panel, bad, _CROSSED, theme)
    frame.dress(figure, report.title, left=frame.left, bottom=_below(marks, frame, theme))
    tilt = _tilted(marks, frame, theme)
    for panel in frame.panels:
        x = Axis((-0.5, len(marks) - 0.5), "Position", list(range(len(marks))), [html.escape(m) for m in marks])
        y = Axis((-0.5, len(names) - 0.5), "Layer" if panel.column == 0 else "", list(range(len(names))), names,
                 labelled=panel.column == 0)  # fmt: skip
        frame.draw_axes(figure, panel, x, y)
    if tilt:
        figure.update_xaxes(tickangle=-40)
    best = max(report.rows, key=lambda row: _value(row, "auc") or 0.0)
    place = sites.index(str(best["site"])) + len(names) - len(sites)
    frame_cell(figure, frame.panels[0], marks.index(str(best["mark"])), place, theme, 1.3)
    ticks = {0.5 - reach: _short(0.5 - reach), 0.5: ".5", 0.5 + reach: _short(0.5 + reach)}
    add_scale(figure, frame, AROUND, (0.5 - reach, 0.5 + reach), "AUC", ticks)
    return figure


def _names(sites: Sequence[str]) -> list[str]:
    """Layers as numbers where all sites are of one kind, else the sites."""
    parts = [site.split(".") for site in sites]
    if len({part[0] for part in parts}) == 1 and all(len(part) == 2 for part in parts):
        return [part[1] for part in parts]
    return [html.escape(site) for site in sites]


def _frame(
    theme: Theme, titles: Sequence[str], names: Sequence[str], marks: Sequence[str], width: float | None
) -> Frame:
    wide = width or (theme.wide if len(titles) > 1 or len(marks) > 8 else theme.width)
    frame = panel_frame(theme, titles, wide)
    size = theme.font_size
    left = 0.6 * max(map(len, names)) + 2.2
    rows = {panel.row for panel in frame.panels}
    gap = size * (4.6 + 0.45 * max(map(len, marks)))
    high = max(2.0 * len(names), 5) * size
    total = len(rows) * high + (len(rows) - 1) * gap
    panels = []
    for panel in frame.panels:
        top = 1 - panel.row * (high + gap) / total
        place = Panel(panel.x, panel.y, panel.column, panel.row, panel.x_domain, (max(top - high / total, 0.0), top),
                      panel.width, panel.title)  # fmt: skip
        panels.append(place)
    return room_for_scale(Frame(theme, wide, tuple(panels), len(rows), total, left))


def _tilted(marks: Sequence[str], frame: Frame, theme: Theme) -> bool:
    return max(map(len, marks)) * 0.68 * theme.font_size > frame.panels[0].width / len(marks)


def _below(marks: Sequence[str], frame: Frame, theme: Theme) -> float:
    return 3.4 + (0.4 * max(map(len, marks)) if _tilted(marks, frame, theme) else 0)


def _value(row: Mapping[str, Any], field: str) -> float | None:
    value = row.get(field)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _table(rows: Sequence[Mapping[str, Any]], field: str, sites: Sequence[str], marks: Sequence[str]) -> list[Any]:
    """Values by site and mark, under them the bag of tokens where the rows have it."""
    found = {(str(row.get("site")), str(row.get("mark"))): _value(row, field) for row in rows}
    table = [[found.get((site, mark)) for mark in marks] for site in sites]
    if not any("bow_auc" in row for row in rows):
        return table
    words = {str(row.get("mark")): _value(row, "bow_auc") for row in rows}
    return [[words.get(mark) for mark in marks], *table]


def _cells(
    table: list[Any], field: str, sites: Sequence[str], marks: Sequence[str], names: Sequence[str],
    look: tuple[float, Panel], theme: Theme,
) -> Any:  # fmt: skip
    import plotly.graph_objects as go

    reach, panel = look
    called = ["bag of tokens", *sites] if len(names) > len(sites) else list(sites)
    what = "AUC, untrained" if field == "untrained_auc" else "AUC"
    tips = [
        ["" if v is None else html.escape(f"{m}, {name}: {what} {v:.3f}") for m, v in zip(marks, line, strict=True)]
        for name, line in zip(called, table, strict=True)
    ]  # fmt: skip
    written = {}
    if panel.width / len(marks) > 2.1 * theme.font_size:
        text = [["" if v is None else _short(v) for v in line] for line in table]
        written = {"text": text, "texttemplate": "%{text}", "textfont": {"size": theme.font_size * 0.85}}
    return go.Heatmap(
        z=table, x=list(range(len(marks))), y=list(range(len(names))), colorscale=AROUND, zmin=0.5 - reach,
        zmax=0.5 + reach, xgap=1, ygap=1, hoverinfo="text", hovertext=tips, showscale=False, xaxis=panel.x,
        yaxis=panel.y, **written,
    )  # fmt: skip


def _crossed(
    rows: Sequence[Mapping[str, Any]], sites: Sequence[str], marks: Sequence[str], below: int
) -> list[tuple[float, float]]:  # fmt: skip
    return [
        (float(marks.index(str(row["mark"]))), float(sites.index(str(row["site"])) + below))
        for row in rows
        if (p := _value(row, "p_max")) is not None and p > _ALPHA
    ]


def _short(value: float) -> str:
    text = f"{value:.2f}"
    return text.removeprefix("0")

"""``heads_by_place`` and ``attention_patterns``: which heads look where, and the patterns of some over a text."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .colours import RISING, add_scale, frame_cell, room_for_scale, tick_every
from .frame import Axis, Frame, panel_frame
from .themes import Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TITLES = {
    "first": "First token",
    "self": "Itself",
    "previous": "Token before",
    "induction": "Behind earlier copy",
    "copy": "Earlier copy",
    "other": "Elsewhere",
}
_PERCENT = {0.0: "0", 0.5: "50 %", 1.0: "100 %"}
_LONGEST = 8  # letters of a token


def heads_by_place(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """A grid of layers and heads for each place: the share of attention there; frames mark heads that look there.

    A head looks at a place if its share is surely more than that of looking everywhere alike. Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"part": f"z.0.h{h}", "layer": 0, "head": h, "place": p, "share": 0.5, "looks": h == 1}
    ...         for h in range(2) for p in ("previous", "self")]
    >>> made = Report("attention", "Heads", "One looks back.", rows, Provenance("a1", "tiny"))
    >>> [note.text for note in heads_by_place(made, theme="paper").layout.annotations]
    ['<b>Itself</b>', '<b>Token before</b>']

    Raises:
        ReportError: the report is not of kind "attention", or has no heads.
    """
    import plotly.graph_objects as go

    _require(report)
    theme = get_theme(theme)
    places = [place for place in _TITLES if any(row.get("place") == place for row in report.rows)]
    layers, heads = 1 + max(row["layer"] for row in report.rows), 1 + max(row["head"] for row in report.rows)
    frame = _square(panel_frame(theme, [_TITLES[p] for p in places], width or theme.wide), layers / heads, 1.2)
    figure = go.Figure()
    for panel, place in zip(frame.panels, places, strict=True):
        grid: list[list[float | None]] = [[None] * heads for _ in range(layers)]
        tips = [[""] * heads for _ in range(layers)]
        own = [row for row in report.rows if row.get("place") == place]
        for row in own:
            grid[row["layer"]][row["head"]] = row["share"]
            even = row.get("share_even")
            beside = f", {even:.0%} if it looked everywhere alike" if isinstance(even, (int, float)) else ""
            tips[row["layer"]][row["head"]] = f"{row['part']}: {row['share']:.1%}{beside}"
        figure.add_trace(
            go.Heatmap(
                z=grid, x=list(range(heads)), y=list(range(layers)), colorscale=RISING, zmin=0, zmax=1, xgap=1, ygap=1,
                hoverinfo="text", hovertext=tips, showscale=False, xaxis=panel.x, yaxis=panel.y,
            )
        )  # fmt: skip
        for row in own:
            if row.get("looks"):
                frame_cell(figure, panel, row["head"], row["layer"], theme)
    frame.dress(figure, report.title, left=frame.left)
    figure.update_layout(showlegend=False)
    last = max(panel.row for panel in frame.panels)
    for panel in frame.panels:
        across = tick_every(heads, panel.width / (2.2 * theme.font_size))
        down = tick_every(layers, _height(frame, panel) / (1.5 * theme.font_size))
        below = any(p.column == panel.column and p.row > panel.row for p in frame.panels)
        x = Axis((-0.5, heads - 0.5), "" if below or panel.row < last else "Head", across, [str(h) for h in across])
        y = Axis((-0.5, layers - 0.5), "Layer" if panel.column == 0 else "", down, [str(i) for i in down],
                 labelled=panel.column == 0)  # fmt: skip
        frame.draw_axes(figure, panel, x, y)
    add_scale(figure, frame, RISING, (0.0, 1.0), "Share of attention", _PERCENT)
    return figure


def attention_patterns(
    report: Report, heads: Sequence[str] | None = None, theme: str | Theme = "screen", width: float | None = None
) -> Figure:
    """The patterns of heads over one text: the token that looks down, the token looked at across.

    Args:
        heads: such as ``["z.1.h0"]``; by default all that the report keeps.

    >>> from interp.provenance import Provenance
    >>> meta = {"patterns": {"z.0.h1": [[1, 0], [0.5, 0.5]]}, "tokens": ["a", "b"]}
    >>> made = Report("attention", "Heads", "One looks back.", [], Provenance("a1", "tiny"), meta=meta)
    >>> list(attention_patterns(made, theme="paper").layout.yaxis.ticktext)
    ['a', 'b']

    Raises:
        ReportError: the report is not of kind "attention", or does not keep these heads' patterns.
    """
    import plotly.graph_objects as go

    kept = report.meta.get("patterns")
    if report.kind != "attention" or not isinstance(kept, dict) or not kept:
        raise ReportError(f"attention_patterns draws an 'attention' report that keeps patterns, not {report.kind!r}")
    chosen = list(kept) if heads is None else [str(head) for head in heads]
    if missing := [head for head in chosen if head not in kept]:
        raise ReportError(f"the pattern of {missing[0]} was not kept; kept are: {', '.join(kept)}")
    theme = get_theme(theme)
    tokens = [_short(token) for token in report.meta.get("tokens", [])]
    count = len(tokens)
    frame = panel_frame(theme, chosen, width or (theme.width if len(chosen) == 1 and count <= 12 else theme.wide))
    label = 0.6 * max(map(len, tokens))
    frame = _square(dataclasses.replace(frame, left=label + 1.6), 1.0, label - 1.0)
    small = min(theme.font_size * 0.95, 0.92 * frame.panels[0].width / max(count, 1))
    step = max(1, math.ceil(theme.font_size * 0.82 / max(small, 1e-9))) if small < theme.font_size * 0.82 else 1
    figure = go.Figure()
    for panel, head in zip(frame.panels, chosen, strict=True):
        z = [[v if k <= q else None for k, v in enumerate(line)] for q, line in enumerate(kept[head])]
        tips = [
            ["" if v is None else f"{tokens[q]} ({q}) looks at {tokens[k]} ({k}): {v:.1%}" for k, v in enumerate(row)]
            for q, row in enumerate(z)
        ]  # fmt: skip
        figure.add_trace(
            go.Heatmap(
                z=z, x=list(range(count)), y=list(range(count)), colorscale=RISING, zmin=0, zmax=1, hoverinfo="text",
                hovertext=tips, showscale=False, xaxis=panel.x, yaxis=panel.y, xgap=0.5, ygap=0.5,
            )
        )  # fmt: skip
    frame.dress(figure, report.title, left=frame.left, bottom=label + 1.4)
    figure.update_layout(showlegend=False)
    places = list(range(0, count, step))
    texts = [tokens[i] for i in places]
    size = {"size": max(small, theme.font_size * 0.82)}
    for panel in frame.panels:
        last = not any(p.column == panel.column and p.row > panel.row for p in frame.panels)
        x = Axis((-0.5, count - 0.5), "Looked at" if last else "", places, texts)
        y = Axis((count - 0.5, -0.5), "Looks" if panel.column == 0 else "", places, texts, labelled=panel.column == 0)
        frame.draw_axes(figure, panel, x, y)
    figure.update_xaxes(tickangle=-90, tickfont=size)
    figure.update_yaxes(tickfont=size)
    add_scale(figure, frame, RISING, (0.0, 1.0), "Attention", _PERCENT)
    figure.update_layout({f"yaxis{len(chosen) + 1}": {"tickfont": {"size": theme.font_size}}})
    return figure


def _square(frame: Frame, ratio: float, gap: float) -> Frame:
    """Panels as high as ``ratio`` times their width, with ``gap`` letters more between rows, and room for a scale."""
    frame = room_for_scale(frame, 7.5)
    size = frame.theme.font_size
    high = max(frame.panels[0].width * ratio, 3 * size)
    between = size * (3.4 + gap)
    total = frame.rows * high + (frame.rows - 1) * between
    panels = []
    for panel in frame.panels:
        top = 1 - panel.row * (high + between) / total
        panels.append(dataclasses.replace(panel, y_domain=(max(top - high / total, 0.0), top)))
    return dataclasses.replace(frame, panels=tuple(panels), plot_height=total)


def _height(frame: Frame, panel: Any) -> float:
    return float(panel.y_domain[1] - panel.y_domain[0]) * frame.plot_height


def _short(text: Any) -> str:
    text = str(text).strip() or "␣"
    return html.escape(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def _require(report: Report) -> None:
    heads = all(isinstance(row.get("head"), int) and isinstance(row.get("layer"), int) for row in report.rows)
    if report.kind != "attention" or not report.rows or not heads:
        raise ReportError(f"heads_by_place draws reports of kind 'attention' with rows of heads, not {report.kind!r}")

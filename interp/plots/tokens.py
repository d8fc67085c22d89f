"""``token_strip``: what a probe says at each token of a text, token by token, in lines as wide as the figure."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, Frame, Panel
from .themes import PALETTE, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TEXTS = 6  # shown at most
_LONGEST = 24  # letters of a token
_UP, _DOWN = Style("blue"), Style("orange")
_STRONGEST, _WEAKER = 0.6, 0.35  # opacity of the highest score, above and below zero: in grey, dark is above


@dataclass(frozen=True)
class _Box:
    """One token with its place: ``x`` from ``left`` to ``right`` in pixels, and its line."""

    row: Mapping[str, Any]
    text: str
    left: float
    right: float
    line: int


def token_strip(
    report: Report, theme: str | Theme = "screen", width: float | None = None, texts: Sequence[str] | None = None
) -> Figure:
    """The tokens of some texts as boxes, blue where the score is above zero, orange below; the stronger, the deeper.

    Frames mark tokens above the threshold that reference texts set. Control tokens are grey. Nothing is computed here.

    Args:
        texts: ids of the texts to show; by default the first six.

    >>> from interp.provenance import Provenance
    >>> rows = [{"text": "a", "position": i, "token": t, "score": i - 1.0, "above": i == 2}
    ...         for i, t in enumerate(["the", "old", "cat"])]
    >>> made = Report("tokens", "Cats", "One token is.", rows, Provenance("a1", "tiny"), meta={"unit": "log odds"})
    >>> [note.text for note in token_strip(made, theme="paper").layout.annotations]
    ['a', 'the', 'old', '<b>cat</b>']

    Raises:
        ReportError: the report is not of kind "tokens" or "token-attribution", or has no such text.
    """
    import plotly.graph_objects as go

    if report.kind not in ("tokens", "token-attribution") or not report.rows:
        raise ReportError(f"token_strip draws reports of kind 'tokens' with rows, not this {report.kind!r}")
    theme = get_theme(theme)
    there = list(dict.fromkeys(str(row.get("text")) for row in report.rows))
    chosen = list(texts) if texts is not None else there[:_TEXTS]
    if missing := [name for name in chosen if name not in there]:
        raise ReportError(f"this report has no text {missing[0]!r}; texts: {', '.join(there)}")
    full, size = width or theme.wide, theme.font_size
    inner = full - 1.8 * size
    boxes: list[_Box] = []
    heads: list[tuple[str, int]] = []
    line = 0
    for name in chosen:
        heads.append((name, line))
        own = [row for row in report.rows if str(row.get("text")) == name]
        boxes += _laid_out(own, inner, size, line + 1)
        line = boxes[-1].line + 1
    high = line * size * 1.9
    panel = Panel("x", "y", 0, 0, (0.0, 1.0), (0.0, 1.0), inner, "")
    frame = Frame(theme, full, (panel,), 1, high, 0.9)
    most = max((abs(_score(box.row)) for box in boxes if not box.row.get("special")), default=1.0) or 1.0
    figure = go.Figure(_tips(boxes, report, theme))
    for box in boxes:
        _draw(figure, box, most, theme)
    for name, place in heads:
        figure.add_annotation(
            text=html.escape(name), x=0, y=place, xanchor="left", yanchor="middle", showarrow=False,
            xref="x", yref="y", font={"size": size * 0.9, "color": PALETTE["muted"]},
        )  # fmt: skip
    figure.layout.annotations = sorted(figure.layout.annotations, key=lambda a: (a.y, a.x))
    _legend(figure, report, most, theme)
    frame.dress(figure, report.title, left=0.9, bottom=0.6)
    bare = {"labelled": False, "places": [], "texts": []}
    frame.draw_axes(figure, panel, Axis((0, inner), **bare), Axis((line - 0.4, -0.6), **bare))  # type: ignore[arg-type]
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _laid_out(rows: Sequence[Mapping[str, Any]], inner: float, size: float, line: int) -> list[_Box]:
    """The tokens from left to right, in a new line where one would not fit."""
    boxes, left = [], 0.0
    for row in rows:
        text = str(row.get("token")).strip() or "␣"
        text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
        wide = size * (0.66 * len(text) + 0.75)
        if left and left + wide > inner:
            left, line = 0.0, line + 1
        boxes.append(_Box(row, text, left, left + wide, line))
        left += wide + size * 0.22
    return boxes


def _score(row: Mapping[str, Any]) -> float:
    value = row.get("score")
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


def _draw(figure: Figure, box: _Box, most: float, theme: Theme) -> None:
    score, special, above = _score(box.row), bool(box.row.get("special")), bool(box.row.get("above"))
    style = Style("band") if special else _UP if score > 0 else _DOWN
    strongest = _STRONGEST if score > 0 else _WEAKER
    depth = 0.35 if special else strongest * min(abs(score) / most, 1.0)
    line = {"color": PALETTE["ink" if above else "grid"], "width": theme.line_width * (1.1 if above else 0.4)}
    figure.add_shape(
        type="rect", x0=box.left, x1=box.right, y0=box.line - 0.42, y1=box.line + 0.42, xref="x", yref="y", line=line,
        fillcolor=style.faint(round(depth, 3)),
    )  # fmt: skip
    figure.add_annotation(
        text=f"<b>{html.escape(box.text)}</b>" if above else html.escape(box.text), x=(box.left + box.right) / 2,
        y=box.line, xanchor="center", yanchor="middle", showarrow=False, xref="x", yref="y",
        font={"size": theme.font_size, "color": PALETTE["muted" if special else "ink"]},
    )  # fmt: skip


def _tips(boxes: Sequence[_Box], report: Report, theme: Theme) -> Any:
    """Invisible points that carry the tooltips."""
    import plotly.graph_objects as go

    unit, tips = str(report.meta.get("unit", "score")), []
    for box in boxes:
        p = box.row.get("p_max")
        chance = f", p = {p:.3g} of a whole text" if isinstance(p, (int, float)) and math.isfinite(p) else ""
        what = html.escape(f"{box.text!r}, token {box.row.get('position')}: {unit} {_score(box.row):.3g}{chance}")
        tips.append(what + (", a control token" if box.row.get("special") else ""))
    return go.Scatter(
        x=[(box.left + box.right) / 2 for box in boxes], y=[box.line for box in boxes], mode="markers", opacity=0,
        marker={"size": theme.font_size * 1.4, "color": PALETTE["muted"]}, hoverinfo="text", hovertext=tips,
        showlegend=False, name="",
    )  # fmt: skip


def _legend(figure: Figure, report: Report, most: float, theme: Theme) -> None:
    """What the colours, the frame and grey mean, as entries without points in the figure."""
    import plotly.graph_objects as go

    unit = html.escape(str(report.meta.get("unit", "score")))
    threshold = report.meta.get("threshold")
    entries = [
        (f"{unit}, above 0", _UP.faint(_STRONGEST), "grid"),
        (f"below 0 (deepest: ±{most:.2g})", _DOWN.faint(_WEAKER), "grid"),
    ]
    if isinstance(threshold, (int, float)):
        own = any("threshold" in row for row in report.rows)
        words = "above the text's threshold" if own else f"above {threshold:.2g}, the threshold of whole texts"
        entries.append((words.replace("-", "−"), "rgba(0,0,0,0)", "ink"))
    if any(row.get("special") for row in report.rows):
        entries.append(("control token", Style("band").faint(0.35), "grid"))
    for name, fill, edge in entries:
        line = {"color": PALETTE[edge], "width": theme.line_width * 0.8}
        figure.add_trace(
            go.Scatter(
                x=[-1e4], y=[0], mode="markers", name=name, hoverinfo="skip",
                marker={"symbol": "square", "size": theme.font_size, "color": fill, "line": line},
            )
        )  # fmt: skip

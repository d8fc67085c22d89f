"""``against``: one number of every row against another, for reports with a row for each example."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import panel_frame
from .themes import PALETTE, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Pair:
    """Which two fields of a kind of report, what they are called, and what sets the series apart."""

    x: str
    y: str
    x_title: str
    y_title: str
    name: str  # the field that names a row
    by: str = ""
    series: tuple[tuple[Any, str, Style], ...] = ((None, "", Style("blue")),)
    diagonal: str = ""


_PLAIN, _OTHER = Style("muted", symbol="circle-open"), Style("blue", symbol="circle")
PAIRS = {
    "completeness": Pair(
        "model", "circuit", "Whole model, without the edges", "Circuit, without them", "without",
        series=((None, "Edges taken out", Style("blue")),), diagonal="Complete",
    ),
    "task": Pair(
        "ablated", "metric", "All edges ablated", "As it is", "pair", "right",
        ((True, "Right", _OTHER), (False, "Wrong", Style("vermillion", symbol="x"))), "No difference",
    ),
    "cliff-judge": Pair(
        "plateau", "final", "Refusal while thinking", "At the last token", "id", "selected",
        ((False, "Not selected", _PLAIN), (True, "Selected", Style("vermillion", symbol="square"))), "No cliff",
    ),
    "extraction": Pair(
        "min_k", "log_p", "Min-K %, nats", "Log p, nats per token", "record", "exact",
        ((False, "Not recited", _PLAIN), (True, "Recited word for word", _OTHER)),
    ),
}  # fmt: skip


def against(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Every row as a point, one field against another; a diagonal where both are of one kind. Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"without": "a0->logits", "circuit": 0.5, "model": 0.4}]
    >>> made = Report("completeness", "Complete", "It is.", rows, Provenance("a1", "tiny"))
    >>> [trace.name for trace in against(made, theme="paper").data]
    ['Complete', 'Edges taken out']

    Raises:
        ReportError: reports of this kind have no such pair, or no row of this one has both.
    """
    import plotly.graph_objects as go

    pair = PAIRS.get(report.kind)
    if pair is None:
        raise ReportError(f"against draws reports of kinds {', '.join(PAIRS)}, not {report.kind!r}")
    rows = [row for row in report.rows if _number(row, pair.x) is not None and _number(row, pair.y) is not None]
    if not rows:
        raise ReportError(f"no row of this {report.kind!r} report has both {pair.x!r} and {pair.y!r}")
    theme = get_theme(theme)
    frame = panel_frame(theme, [""], width)
    figure = go.Figure()
    across, up = (_reach(rows, field) for field in (pair.x, pair.y))
    if pair.diagonal:
        across = up = (min(across[0], up[0]), max(across[1], up[1]))
        figure.add_trace(
            go.Scatter(
                x=list(across), y=list(up), mode="lines", name=pair.diagonal, hoverinfo="skip", legendrank=9,
                line={"color": PALETTE["muted"], "dash": "3px,2px", "width": theme.line_width * 0.75},
            )
        )  # fmt: skip
    for value, name, style in pair.series:
        own = [row for row in rows if not pair.by or bool(row.get(pair.by)) == value]
        if own:
            figure.add_trace(_points(own, pair, name or "Rows", style, theme))
    frame.apply(figure, report.title, pair.x_title, pair.y_title, [(across, *_ticks(across))], up)
    if not pair.by and not pair.diagonal:
        figure.update_layout(showlegend=False)
    return figure


def _number(row: Mapping[str, Any], field: str) -> float | None:
    value = row.get(field)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _reach(rows: Sequence[Mapping[str, Any]], field: str) -> tuple[float, float]:
    values = [float(row[field]) for row in rows]
    room = max(0.06 * (max(values) - min(values)), 0.02)
    return min(values) - room, max(values) + room


def _ticks(reach: tuple[float, float]) -> tuple[list[float], list[str]]:
    """Round numbers in the range, five or so."""
    wide = reach[1] - reach[0]
    step = next(s * 10.0**k for k in range(-3, 7) for s in (1, 2, 5) if wide / (s * 10.0**k) <= 6)
    first = math.ceil(reach[0] / step)
    places = [round(step * n, 6) for n in range(first, math.floor(reach[1] / step) + 1)]
    return places, [f"{p:g}".replace("-", "−") for p in places]


def _points(rows: Sequence[Mapping[str, Any]], pair: Pair, name: str, style: Style, theme: Theme) -> Any:
    import plotly.graph_objects as go

    tips = [
        html.escape(f"{row.get(pair.name)}: {pair.x_title} {row[pair.x]:.3g}, {pair.y_title} {row[pair.y]:.3g}")
        for row in rows
    ]
    return go.Scatter(
        x=[row[pair.x] for row in rows], y=[row[pair.y] for row in rows], mode="markers", name=name, opacity=0.75,
        marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size}, hoverinfo="text",
        hovertext=tips, cliponaxis=False,
    )  # fmt: skip

"""``forest``: named rows with their values and intervals beside one another, for reports that are a list of results."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .frame import Axis, Frame, Panel
from .series import Point, error_bar, hover, interval_words
from .themes import PALETTE, SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_LONGEST = 34  # letters of a name
_MOST = 30  # rows


@dataclass(frozen=True)
class Look:
    """How the rows of one kind of report are drawn: who each is, which fields, and what to compare them with."""

    names: Callable[[Mapping[str, Any]], str]
    fields: Mapping[str, str]  # field -> what it is called
    axis: str
    line: Callable[[Report], tuple[float, str] | None] = lambda report: None
    log: bool = False
    span: tuple[float, float] | None = None


def _threshold(words: str) -> Callable[[Report], tuple[float, str] | None]:
    def line(report: Report) -> tuple[float, str] | None:
        value = report.meta.get("threshold")
        return (float(value), words) if isinstance(value, (int, float)) else None

    return line


def _request(row: Mapping[str, Any]) -> str:
    return f"{row.get('category')}, {row.get('role')}"


LOOKS = {
    "minimality": Look(
        lambda row: str(row.get("edge")), {"loss": "Lost without the edge"}, "Faithfulness lost",
        _threshold("Needed from here"),
    ),
    "condition": Look(
        lambda row: f"{row.get('prompts')} prompts", {"tpr": "Open where it should", "fpr": "Open where not"},
        "Share of prompts", span=(-0.04, 1.04),
    ),
    "refusal-behaviour": Look(_request, {"refused": "Refused"}, "Share of requests refused", span=(-0.04, 1.04)),
    "circuit-null": Look(
        lambda row: str(row.get("search")), {"faithfulness": "Faithfulness", "stability": "Stable edges"},
        "Share", lambda report: (1.0, "The whole model"),
    ),
    "sae": Look(
        lambda row: str(row.get("dictionary")), {"explained": "Variance explained", "recovered": "Loss recovered"},
        "Share", lambda report: (1.0, "Nothing left out"),
    ),
    "latents": Look(
        lambda row: f"{row.get('latent')}{' (random)' if row.get('group') == 'sample' else ''}",
        {"score": "Estimate", "exact": "Exact"}, "Metric lost",
    ),
    "doctor": Look(
        lambda row: str(row.get("check")), {"worst": "Largest difference"}, "Largest difference from the plain model",
        lambda report: _tolerance(report), log=True,
    ),
}  # fmt: skip


def _tolerance(report: Report) -> tuple[float, str] | None:
    found = [row["tolerance"] for row in report.rows if isinstance(row.get("tolerance"), (int, float))]
    return (max(found), "Tolerance") if found else None


def forest(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """Rows of a report as dots with intervals, one under another. Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> rows = [{"edge": "a0.h1->logits", "loss": 0.5, "loss_lo": 0.4, "loss_hi": 0.6}]
    >>> made = Report("minimality", "Edges", "One is needed.", rows, Provenance("a1", "tiny"))
    >>> list(forest(made, theme="paper").layout.yaxis.ticktext)
    ['a0.h1→logits']

    Raises:
        ReportError: reports of this kind are no such list, or this one holds none of its numbers.
    """
    import plotly.graph_objects as go

    look = LOOKS.get(report.kind)
    if look is None:
        raise ReportError(f"forest draws reports of kinds {', '.join(LOOKS)}, not {report.kind!r}")
    fields = [field for field in look.fields if any(_finite(row.get(field)) for row in report.rows)]
    rows = [row for row in report.rows if any(_finite(row.get(field)) for field in fields)][:_MOST]
    if not rows:
        raise ReportError(f"this {report.kind!r} report holds none of: {', '.join(look.fields)}")
    theme = get_theme(theme)
    names = [_short(look.names(row)) for row in rows]
    frame = _frame(theme, names, len(fields), width)
    [panel] = frame.panels
    figure = go.Figure()
    reach = _reach(report, rows, fields, look)
    if (line := look.line(report)) is not None:
        figure.add_trace(_line(line, len(rows), theme))
    least = reach[0]
    for number, field in enumerate(fields):
        style = SERIES[number]
        shift = 0.0 if len(fields) == 1 else (number - (len(fields) - 1) / 2) * 0.26
        points = [Point(i + shift, name, row) for i, (name, row) in enumerate(zip(names, rows, strict=True))]
        words = interval_words(report, points, field)
        figure.add_trace(_dots(points, field, look.fields[field] + words, style, theme, (look.log, least)))
    if len(fields) == 1 and line is None:
        figure.update_traces(showlegend=False)
    frame.dress(figure, report.title, left=frame.left)
    most = max(3, int(panel.width / (4.2 * theme.font_size)))
    frame.draw_axes(
        figure,
        panel,
        _across(reach, look, most),
        Axis((len(rows) - 0.4, -0.6), "", list(range(len(rows))), names, grid=True),
    )
    if look.log:
        figure.update_xaxes(type="log")
    return figure


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _short(name: str) -> str:
    name = name.replace("->", "→")
    return html.escape(name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…")


def _frame(theme: Theme, names: Sequence[str], series: int, width: float | None) -> Frame:
    size = theme.font_size
    left = 0.58 * max(map(len, names)) + 1.2
    full = width or (theme.width if left * size < 0.5 * theme.width else theme.wide)
    high = size * max(2.0 if series == 1 else 2.7, 0) * max(len(names), 2)
    plot_width = full - size * (left + 0.9)
    return Frame(theme, full, (Panel("x", "y", 0, 0, (0.0, 1.0), (0.0, 1.0), plot_width, ""),), 1, high, left)


def _reach(report: Report, rows: Sequence[Mapping[str, Any]], fields: Sequence[str], look: Look) -> tuple[float, float]:
    if look.span is not None:
        return look.span
    values = [
        float(row[f + end]) for row in rows for f in fields for end in ("", "_lo", "_hi") if _finite(row.get(f + end))
    ]
    if (line := look.line(report)) is not None:
        values.append(line[0])
    if look.log:
        there = [v for v in values if v > 0]
        return min(there, default=1e-9) / 3, max(there, default=1.0) * 3
    low, high = min(*values, 0.0), max(*values, 0.0)
    room = 0.05 * (high - low or 1)
    return low - room, high + room


def _across(reach: tuple[float, float], look: Look, most: int) -> Axis:
    if not look.log:
        return Axis(reach, look.axis, grid=True, line=True, most=most)
    ends = math.log10(reach[0]), math.log10(reach[1])
    step = math.ceil((ends[1] - ends[0]) / most)
    powers = [p for p in range(math.ceil(ends[0]), math.floor(ends[1]) + 1) if p % step == 0]
    texts = [f"1e{p}".replace("-", "−") if p else "1" for p in powers]
    return Axis(ends, look.axis, [10.0**p for p in powers], texts, grid=True, line=True)


def _line(line: tuple[float, str], rows: int, theme: Theme) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[line[0], line[0]], y=[rows - 0.4, -0.6], mode="lines", name=line[1], hoverinfo="text",
        hovertext=[f"{line[1]}: {line[0]:.3g}"] * 2, legendrank=9,
        line={"color": PALETTE["muted"], "dash": "3px,2px", "width": theme.line_width * 0.75},
    )  # fmt: skip


def _dots(
    points: Sequence[Point], field: str, name: str, style: Style, theme: Theme, log: tuple[bool, float]
) -> Any:  # fmt: skip
    import plotly.graph_objects as go

    values = [point.value(field) for point in points]
    # Zero has no place on a logarithmic axis; it stands at the left edge, and its tooltip says what it is.
    places = [max(v, log[1]) if log[0] else v for v in values]
    trace = go.Scatter(
        x=[None if math.isnan(v) else v for v in places], y=[point.x for point in points], mode="markers", name=name,
        marker={"color": style.hex, "symbol": style.symbol, "size": theme.marker_size}, hoverinfo="text",
        hovertext=[hover(point, field) for point in points], cliponaxis=False,
    )  # fmt: skip
    high, low = ([point.value(field + end) for point in points] for end in ("_hi", "_lo"))
    up = [h - v for h, v in zip(high, values, strict=True)]
    down = [v - lo for v, lo in zip(values, low, strict=True)]
    if any(not math.isnan(v) for v in up):
        trace.error_x = error_bar(up, down, style, theme) | {"width": theme.marker_size * 0.4}
    return trace

"""``plotted_rows``: what a figure shows, as rows: panel, series, both coordinates by number and name, intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .static.style import plain

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Row = dict[str, Any]
COLUMNS = (
    "panel", "series", "x_axis", "x", "x_name", "x_low", "x_high", "y_axis", "y", "y_name", "y_low", "y_high", "z",
    "text",
)  # fmt: skip
_NEAR = 0.3  # points of several series stand this far at most beside the place that they belong to


def plotted_rows(figure: Figure) -> list[Row]:
    """The points, bars, cells and bands of a figure, a row each, in the order in which they are drawn.

    ``x_name`` is the tick's text where the axis has words for its places; ``y_low`` and ``y_high`` are the ends of an
    error bar or of a band, which has no ``y``. ``text`` is what the reader sees under the pointer. Columns that are
    empty throughout are left out.

    >>> import plotly.graph_objects as go
    >>> plotted_rows(go.Figure(go.Scatter(x=[1, 2], y=[0.5, 0.7], name="probe")))
    [{'series': 'probe', 'x': 1, 'y': 0.5}, {'series': 'probe', 'x': 2, 'y': 0.7}]
    """
    found = [row for trace in figure.data if not _decoration(trace) for row in _rows(figure, trace)]
    used = [name for name in COLUMNS if any(row.get(name) not in (None, "") for row in found)]
    return [{name: row.get(name) for name in used} for row in found]


def _decoration(trace: Any) -> bool:
    """Whether a trace is a line that stands for nothing by itself: unnamed, unlabelled, not a band."""
    bare = trace.type == "scatter" and not trace.fill and trace.hovertext is None and trace.showlegend is False
    return bool(bare and not trace.name)


def _rows(figure: Figure, trace: Any) -> Iterator[Row]:
    x_axis, y_axis = (figure.layout[_long(getattr(trace, a, None) or a[0])] for a in ("xaxis", "yaxis"))
    about = {
        "panel": _panel(figure, trace.xaxis or "x", trace.yaxis or "y"),
        "series": plain(trace.name or trace.legendgroup or "")[0],
        "x_axis": plain(x_axis.title.text or "")[0],
        "y_axis": plain(y_axis.title.text or "")[0],
    }
    axes = {"x": x_axis, "y": y_axis}
    rows = [row for row in (_grid(trace) if trace.type == "heatmap" else _points(trace)) if _inside(row, axes)]
    names = {a: _names(axis, [row.get(a) for row in rows]) for a, axis in axes.items()}
    for place, row in enumerate(rows):
        yield {**about, **row, **{f"{a}_name": named[place] for a, named in names.items()}}


def _points(trace: Any) -> Iterator[Row]:
    xs, ys = (_values(getattr(trace, a, None)) for a in "xy")
    if getattr(trace, "fill", None) == "toself":
        yield from _bands(xs, ys)
        return
    texts = _texts(trace, len(xs))
    for place, (x, y) in enumerate(zip(xs, ys, strict=False)):
        if _nothing(x) or _nothing(y):
            continue
        row = {"x": x, "y": y, "text": texts[place]}
        for name, value in (("x", x), ("y", y)):
            row |= _ends(getattr(trace, f"error_{name}", None), place, name, value)
        yield row


def _bands(xs: Sequence[Any], ys: Sequence[Any]) -> Iterator[Row]:
    """A filled polygon by its places: there one way and back the other, or any outline as it is."""
    for start, stop in _pieces(xs):
        across, up = list(xs[start:stop]), list(ys[start:stop])
        if len(across) > 1 and (across[0], up[0]) == (across[-1], up[-1]):
            across, up = across[:-1], up[:-1]
        half = len(across) // 2
        if len(across) % 2 == 0 and across[:half] == across[half:][::-1]:
            for x, one, other in zip(across[:half], up[:half], up[::-1], strict=False):
                yield {"x": x, "y_low": min(one, other), "y_high": max(one, other)}
        else:
            yield from ({"x": x, "y": y} for x, y in zip(across, up, strict=True))


def _pieces(xs: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """The stretches of a polygon between its gaps."""
    start = 0
    for place, x in enumerate([*xs, None]):
        if _nothing(x):
            if place > start:
                yield start, place
            start = place + 1


def _grid(trace: Any) -> Iterator[Row]:
    texts = trace.hovertext if trace.hovertext is not None else trace.text
    for row, cells in enumerate(trace.z):
        for column, z in enumerate(cells):
            if not _nothing(z):
                x, y = (v[i] if v is not None else i for v, i in ((trace.x, column), (trace.y, row)))
                text = texts[row][column] if texts is not None and not isinstance(texts, str) else None
                yield {"x": _number(x), "y": _number(y), "z": _number(z), "text": _said(text)}


def _ends(bar: Any, place: int, name: str, value: Any) -> Row:
    up = getattr(bar, "array", None)
    if up is None or _nothing(up[place]):
        return {}
    down = bar.arrayminus if bar.arrayminus is not None else up
    return {f"{name}_low": value - float(down[place]), f"{name}_high": value + float(up[place])}


def _texts(trace: Any, count: int) -> list[str | None]:
    given = getattr(trace, "hovertext", None)
    given = trace.text if given is None and hasattr(trace, "text") else given
    if given is None or isinstance(given, str):
        return [None] * count
    return [_said(text) for text in given]


def _said(text: Any) -> str | None:
    return None if text is None else plain(text)[0].replace("\n", "; ")


def _panel(figure: Figure, x: str, y: str) -> str:
    """The bold words above a panel."""
    for note in figure.layout.annotations:
        if note.xref == f"{x} domain" and note.yref == f"{y} domain" and str(note.text).startswith("<b>"):
            return plain(note.text)[0]
    return ""


def _inside(row: Row, axes: dict[str, Any]) -> bool:
    """Whether a row can be seen; legends have entries whose points stand far outside."""
    for name, axis in axes.items():
        value, reach = row.get(name), axis.range
        if reach is not None and isinstance(value, (int, float)) and not min(reach) <= value <= max(reach):
            return False
    return True


def _names(axis: Any, values: list[Any]) -> list[str | None]:
    """What an axis calls the places of a series: its ticks' text, also for points that stand a little beside them."""
    none: list[str | None] = [None] * len(values)
    if axis.tickvals is None or axis.ticktext is None:
        return none
    words = {
        place: plain(text)[0].replace("\n", " ") for place, text in zip(axis.tickvals, axis.ticktext, strict=False)
    }
    if not words or not all(isinstance(v, (int, float)) for v in (*words, *values)):
        return none
    nearest = [min(words, key=lambda place: abs(place - value)) for value in values]
    apart = min((abs(p - q) for p in words for q in words if p != q), default=1)
    beside = apart >= 1 and all(abs(place - value) <= _NEAR for place, value in zip(nearest, values, strict=True))
    return [words[p] or None if beside or p == v else None for p, v in zip(nearest, values, strict=True)]


def _long(name: str) -> str:
    return f"{name[0]}axis{name[1:]}"


def _values(values: Any) -> list[Any]:
    return [] if values is None else [_number(value) for value in values]


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))

"""``signature_by_dose``: how well records can be told apart by how often they were shown, and what would be found."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .depths import choose_of
from .doses import DOSE_AXIS, dose_name, dose_ticks
from .frame import panel_frame
from .series import Point, aside, has_values, interval_words, level, limits, line, one_legend_entry_each
from .signature import CONTRASTS, require_signature
from .themes import ROLES, SERIES, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_PEAK = Style("blue", "2px,3px", "circle-open", 0.6)
_DETECTABLE = Style("muted", "7px,3px", "triangle-up-open", 0.6)


def signature_by_dose(
    report: Report, contrast: str | None = None, theme: str | Theme = "screen", width: float | None = None
) -> Figure:
    """AUC with the depth chosen inside the folds, by dose, one line per mark; and the AUC that would have been found.

    It draws ``meta["cells"]`` of the report, one per contrast, dose and mark. With a single mark the peak over depths
    is drawn beside it, which flatters itself. Without ``contrast`` the twins. Nothing is computed here.

    >>> from interp.provenance import Provenance
    >>> cells = [{"contrast": "twins", "dose": d, "mark": "recall", "nested_auc": x, "detectable": 0.6}
    ...          for d, x in ((0, 0.5), (8, 0.52), (128, 0.66))]
    >>> rows = [{"auc": 0.5}]
    >>> made = Report("signature", "Signature", "It is read.", rows, Provenance("a1", "tiny"), meta={"cells": cells})
    >>> [trace.name for trace in signature_by_dose(made, theme="paper").data]
    ['Chance', 'Found 4 times in 5, if it is there', 'Depth chosen blind']

    Raises:
        ReportError: the report is not of kind "signature", or its cells lack the contrast.
    """
    import plotly.graph_objects as go

    require_signature(report, "signature_by_dose")
    cells = cells_of(report)
    contrast = choose_of([cell.get("contrast") for cell in cells], "contrast", contrast, CONTRASTS)
    cells = [cell for cell in cells if cell.get("contrast") == contrast]
    known = sorted({c.get("dose") for c in cells}, key=lambda d: (d is not None, d if d is not None else 0))
    theme = get_theme(theme)
    marks = {
        mark: [_point(cell, known) for cell in cells if cell.get("mark") == mark]
        for mark in dict.fromkeys(cell.get("mark") for cell in cells)
    }
    if len(marks) > len(SERIES):
        raise ReportError(f"{len(marks)} marks are too many for one figure; select cells of at most {len(SERIES)}")
    frame = panel_frame(theme, [""], width or theme.width)
    figure = go.Figure()
    across, places, texts = dose_ticks(known)
    figure.add_trace(level(0.5, across, "Chance", ROLES["chance"], theme, 8))
    for trace in _lines(report, marks, theme):
        figure.add_trace(trace)
    one_legend_entry_each(figure)
    words = html.escape(CONTRASTS.get(str(contrast), str(contrast)))
    ticks = [(across, places, texts)]
    frame.apply(figure, f"{report.title}: {words}", DOSE_AXIS, "AUC", ticks, limits(figure))
    return figure


def cells_of(report: Report) -> list[Mapping[str, Any]]:
    """What the report says of each contrast, dose and mark as a whole, over all depths.

    Raises:
        ReportError: the report has none.
    """
    cells = report.meta.get("cells")
    if not isinstance(cells, list) or not cells or not all(isinstance(cell, dict) for cell in cells):
        raise ReportError("this 'signature' report has no meta['cells'], which hold what was found over all depths")
    return cells


def _point(cell: Mapping[str, Any], known: Sequence[Any]) -> Point:
    dose = cell.get("dose")
    return Point(float(known.index(dose)), f"{cell.get('mark')}, dose {dose_name(dose)}", cell)


def _lines(report: Report, marks: Mapping[Any, list[Point]], theme: Theme) -> list[Any]:
    first = next(iter(marks.values()))
    traces = []
    if has_values(first, "detectable"):
        name = "Found 4 times in 5, if it is there"
        traces.append(line(first, "detectable", name, _DETECTABLE, theme, rank=7))
    if len(marks) == 1 and has_values(first, "peak_auc"):
        moved = [point.moved(aside(1, 2)) for point in first]
        traces.append(line(moved, "peak_auc", "Best depth, picked by looking", _PEAK, theme, rank=6, p="p_max"))
    for number, ((mark, points), style) in enumerate(zip(marks.items(), SERIES, strict=False)):
        field = "nested_auc" if has_values(points, "nested_auc") else "peak_auc"
        name = "Depth chosen blind" if len(marks) == 1 else f"At {html.escape(str(mark))}"
        if field == "peak_auc":
            name = "Best depth, picked by looking" if len(marks) == 1 else f"{name} (best depth)"
        if number == 0:
            name += interval_words(report, points, field)
        moved = [point.moved(aside(number, max(len(marks), 2))) for point in points]
        traces.append(line(moved, field, name, style, theme, rank=number, whiskers=True, p="p_max"))
    return [trace for trace in traces if any(v is not None and not math.isnan(v) for v in trace.y)]

"""Rows by depth: the embedding is 0, the output of the last block is the last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .doses import dose_name
from .frame import Ticks
from .series import Point, span

if TYPE_CHECKING:
    from .frame import Panel
    from .themes import Theme

DEPTH_AXIS = "Depth (0 is the embedding)"


def choose(report: Report, field: str, wanted: Any, prefer: Iterable[Any] = ()) -> Any:
    """The value of ``field`` to draw: the wanted one, else the first preferred one that occurs, else the first.

    Raises:
        ReportError: no row has the wanted value; the message lists those that occur.
    """
    return choose_of([row.get(field) for row in report.rows], field, wanted, prefer)


def choose_of(values: Iterable[Any], field: str, wanted: Any, prefer: Iterable[Any] = ()) -> Any:
    """As `choose`, from these values."""
    there = list(dict.fromkeys(values))
    if wanted is not None:
        if wanted not in there:
            known = ", ".join(map(str, there))
            raise ReportError(f"this report has nothing with {field} {wanted!r}; it has: {known or 'none'}")
        return wanted
    return next((value for value in prefer if value in there), there[0] if there else None)


def depth_points(report: Report, what: str = "", **fields: Any) -> list[Point]:
    """The rows whose fields have these values, by depth.

    Raises:
        ReportError: two rows of the same depth, which no line can show, or a row without one.
    """
    rows = [row for row in report.rows if all(row.get(name) == value for name, value in fields.items())]
    points = []
    for row in rows:
        depth = row.get("depth")
        if not isinstance(depth, (int, float)):
            raise ReportError(f"a row of this {report.kind!r} report has the depth {depth!r}, which is no number")
        points.append(Point(float(depth), f"{what}depth {depth:g}", row))
    points.sort(key=lambda point: point.x)
    for one, other in pairwise(points):
        if one.x == other.x:
            chosen = ", ".join(f"{name} {value}" for name, value in fields.items())
            raise ReportError(f"two rows of this {report.kind!r} report are at depth {one.x:g} with {chosen}")
    return points


def depth_ticks(points: Sequence[Point], panel: Panel, theme: Theme) -> Ticks:
    """Range, tick places and tick texts of a depth axis: whole depths, as many as fit."""
    low, high = span(points)
    most = max(int(panel.width / (2.4 * theme.font_size)), 2)
    step = next(s for s in (1, 2, 4, 5, 10, 20, 50, 100, 200, 500, 10**6) if (high - low) / s <= most)
    places = [float(v) for v in range(0, int(high) + 1, step) if low < v < high]
    return (low, high), places, [f"{v:g}" for v in places]


def dose_title(dose: Any) -> str:
    """What a panel of one dose is called."""
    return "" if dose is None else f"Shown {dose_name(dose)} times"

"""Doses on an axis: as far apart as they are in order, since they are usually powers of something."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from ..report import Report
from .frame import Ticks
from .series import Point

DOSE_AXIS = "Times shown in training"


def doses(report: Report) -> list[Any]:
    """The doses of the report, rising; ``None``, which is no dose, first."""
    found = {row.get("dose") for row in report.rows}
    return sorted(found, key=lambda dose: (dose is not None, dose if isinstance(dose, (int, float)) else math.inf))


def dose_name(dose: Any) -> str:
    """What a dose is called on an axis or above a panel."""
    return "all" if dose is None else f"{dose:g}" if isinstance(dose, (int, float)) else html.escape(str(dose))


def dose_points(report: Report, known: Sequence[Any], what: str, **fields: Any) -> list[Point]:
    """The rows whose fields have these values, in the order of their doses; ``what`` names them in tooltips."""
    rows = [row for row in report.rows if all(row.get(name) == value for name, value in fields.items())]
    points = [Point(known.index(row.get("dose")), f"{what}, dose {dose_name(row.get('dose'))}", row) for row in rows]
    return sorted(points, key=lambda point: point.x)


def dose_ticks(known: Sequence[Any]) -> Ticks:
    """Range, tick places and tick texts of a dose axis."""
    return (-0.5, max(len(known), 1) - 0.5), [float(i) for i in range(len(known))], [dose_name(d) for d in known]

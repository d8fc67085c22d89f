"""What the pages of all kinds need to find words for a report's numbers."""

from __future__ import annotations

import math

from ...report import Report

Note = tuple[str, str]  # term, explanation


def has(report: Report, name: str) -> bool:
    """Whether some row has the field."""
    return any(row.get(name) is not None for row in report.rows)


def number_of(report: Report, name: str) -> float:
    """A number of the report's meta, NaN where it is missing or no number."""
    value = report.meta.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def interval_note(report: Report, what: str, scope: str) -> Note:
    """The interval: ``what`` was drawn again, and what that does not cover."""
    level = number_of(report, "ci_level")
    name = f"{100 * (level if math.isfinite(level) else 0.95):g} % CI"
    return name, f"{what} were drawn again with replacement. {scope}"

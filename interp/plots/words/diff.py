"""What a page says about what differs between two results."""

from __future__ import annotations

from ...report import Report
from .common import Note, number_of

CAPTIONS: dict[str, str] = {}


def notes(report: Report) -> list[Note]:
    """What counts as equal, and what the last column says."""
    if report.kind == "diff-sources":
        return []
    share = f"{number_of(report, 'tolerance'):g}"
    said = {value for row in report.rows if (value := row.get("inside"))}
    found = [
        (
            "Equal",
            f"Two numbers that differ by at most {share} of the larger one, or by a thousandth of that where both are "
            "next to nothing. NaN equals NaN.",
        )
    ]
    if said:
        text = "Whether each of the two values lies in the interval of the other: yes, no, or on one side only."
        found.append(("Inside", text))
    return found


def reading(report: Report) -> list[str]:
    """What a difference does and does not say."""
    if report.kind == "diff-sources" or not any(row.get("inside") for row in report.rows):
        return []
    return [
        "Two values that lie in each other's intervals may still differ, and intervals that overlap are no test: "
        "for a claim about a difference, measure it with an interval of its own.",
    ]

"""What a page says about a doctor report."""

from __future__ import annotations

from ...report import Report
from .common import Note, has

CAPTIONS = {"Checks": "The largest difference between computations that must agree, for each check."}
READING = [
    "A pass says that activations of this model, as captured here, are those of the plain model, whatever the "
    "padding, the batch or the cache.",
    "After a FAIL, do not trust results that rest on the failed property; the detail says where it broke.",
]


def notes(report: Report) -> list[Note]:
    """A sentence for each measure that this report holds."""
    found = []
    if has(report, "worst"):
        found.append(
            (
                "Largest difference",
                "Between two computations that must agree, relative to the size of the values, at the worst place.",
            )
        )
    if has(report, "tolerance"):
        found.append(("Tolerance", "The difference that rounding in this precision explains. More is a fault."))
    if any(row.get("ok", True) is None for row in report.rows):
        found.append(("\N{EN DASH}", "The check does not apply to this model."))
    return found

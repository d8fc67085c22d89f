"""What a page says about transfer between ways of memorising."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note

CAPTIONS = {
    "Transfer by depth": "AUC of a probe that was fitted on one way of memorising and tested on the other, by depth, "
    "beside one that was fitted on the way it is tested on.",
}
READING = [
    "A probe that carries over reads something that both ways of memorising share. One that does not may still read a "
    "signature of each: the two then lie in different directions.",
    "AUC does not depend on where the threshold is, so a shift between the two models cannot hide a transfer, as it "
    "can in accuracy.",
]


def notes(report: Report) -> list[Note]:
    """A sentence for each measure that this report holds."""
    found: list[Note] = [
        ("Fitted on, tested on", "Groups of records that the probe is tested on are never among those it is fitted on.")
    ]
    if has(report, "auc_lo"):
        scope = "The interval says what other records of the same kind might have given, in these models."
        found.append(interval_note(report, "Whole groups of records", scope))
    if has(report, "p"):
        found.append(("p", "Labels were shuffled by whole groups; p counts the shuffled runs with as high an AUC."))
    return found

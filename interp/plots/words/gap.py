"""What a page says about the gap between the trained wording and paraphrases."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note

CAPTIONS = {
    "Gap by depth": "Accuracy of telling the trained wording from a paraphrase, and one paraphrase from another, on "
    "records that the probe was not fitted on; and the difference between the two.",
}
READING = [
    "Wordings can be told apart by their words alone. Only what the trained wording has beyond the second paraphrase "
    "can be memory, and only if the two paraphrases differ from each other as much as the trained wording does from "
    "them. A model that never saw the records shows whether they do.",
]
_SECOND = "Two wordings that were never shown (C, B): what words alone give."


def notes(report: Report) -> list[Note]:
    """A sentence for each measure and null that this report holds."""
    twins = any(row.get("baseline") == "twins" for row in report.rows)
    found: list[Note] = [
        ("First accuracy", "The wording that was planted (M) against a paraphrase of it (C), in trained records."),
        ("Second accuracy", "The same in twins that were never shown." if twins else _SECOND),
        ("Gap", "The first accuracy minus the second."),
    ]
    if has(report, "gap_clamped"):
        text = (
            "The gap with a second accuracy below one half counted as one half. Where a group is left out, the others "
            "lean against it, which puts a baseline below one half and would widen the gap for no reason."
        )
        found.append(("Baseline at least chance", text))
    if has(report, "gap_lo"):
        scope = "The interval says what other records of the same kind might have given, in this one model."
        found.append(interval_note(report, "Whole groups of records, with all their wordings,", scope))
    if has(report, "p") or has(report, "p_max"):
        text = (
            "The two comparisons changed places in whole groups of records at random; p counts the runs with as large "
            "a gap at this depth, 'p, best depth' those whose largest gap over depths is as large."
        )
        found.append(("p", text))
    return found

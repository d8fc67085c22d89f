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
    "A second accuracy below one half would widen the gap for no reason; the report counts it as one half.",
]


def notes(report: Report) -> list[Note]:
    """A sentence for each measure and null that this report holds."""
    found: list[Note] = [
        ("Trained wording or paraphrase", "The wording that was planted (M) against a paraphrase of it (C)."),
        ("One paraphrase or another", "Two wordings that were never shown (C, B): what words alone give."),
        ("Gap", "The first accuracy minus the second."),
    ]
    if has(report, "gap_lo"):
        scope = "The interval says what other records of the same kind might have given, in this one model."
        found.append(interval_note(report, "Whole records, with all their wordings,", scope))
    if has(report, "p") or has(report, "p_max"):
        text = (
            "Which of a record's wordings counts as which was shuffled record by record; p counts the shuffled runs "
            "with as large a gap, 'p, best of all' those whose largest gap over depths is."
        )
        found.append(("p", text))
    return found

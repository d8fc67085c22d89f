"""What a page says about recall over the training."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note

CAPTIONS = {
    "Over training": "When records are learned, by how often each is shown over the whole training; and the loss on "
    "held-out text of the ordinary kind at the same steps.",
}
READING = [
    "Records of a higher dose are shown at shorter intervals, so at any step they have been shown more often as well.",
    "A loss on other text that falls as usual says that records are learned beside the language, not instead of it.",
]


def notes(report: Report) -> list[Note]:
    """A sentence for each measure that this report holds."""
    found: list[Note] = []
    if has(report, "exact"):
        text = "Given everything before the first detail, greedy decoding repeats the rest of the record, all of it."
        found.append(("Recited exactly", text))
    if any(row.get("label") == "untrained" for row in report.rows):
        text = "Each record has a twin of the same kind. A coin decided which of the two the model was trained on."
        found.append(("Untrained twins", text))
    if any(name.endswith("_lo") for name in report.columns):
        scope = "The interval says what other records of the same kind might have given, in this one model."
        found.append(interval_note(report, "Whole groups of records", scope))
    return found

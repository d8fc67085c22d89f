"""What a page says about how much a model recalls: by dose, and record by record."""

from __future__ import annotations

import math

from ...report import Report
from ..tables import p_value
from .common import Note, has, interval_note, number_of

CAPTIONS = {
    "Recall by dose": "What the model recalls of records by how often each was shown to it, beside their untrained "
    "twins: records of the same kind, which a coin kept out of training. Doses are spaced by rank.",
}
READING = [
    "Compare the records that were trained on with their untrained twins, not with zero: twins show what a model of "
    "such text guesses without having seen the record.",
    "Recall is what greedy decoding repeats after this one beginning. A record that is not recited may still come out "
    "after another beginning, or under sampling.",
    "At dose 0 neither twin was shown; a difference there would be luck or a leak.",
]
_METRICS = (
    (
        "exact",
        "Recited exactly",
        "Given everything before the first detail, greedy decoding repeats the rest of the record, all of it.",
    ),
    (
        "log_p",
        "Log probability",
        "Of the details, given what stands before each; the mean per token in nats. 0 is certainty.",
    ),
    (
        "similarity",
        "Similarity",
        "One minus the edit distance between what is recited and what should be, as a share of the longer one.",
    ),
    (
        "strength",
        "Extraction strength",
        "The share of a record that comes out by itself: one minus the shortest beginning that makes the model repeat "
        "all the rest.",
    ),
    (
        "min_k",
        "Min-K %",
        "The mean log probability of the least likely tokens of a record. Higher means less surprise anywhere.",
    ),
)


def notes(report: Report) -> list[Note]:
    """A sentence for each measure and control that this report holds."""
    found: list[Note] = [(term, text) for name, term, text in _METRICS if has(report, name)]
    if any(row.get("label") == "untrained" for row in report.rows):
        text = "Each record has a twin of the same kind. A coin decided which of the two the model was trained on."
        found.append(("Untrained twins", text))
    if any(name.endswith("_lo") for name in report.columns):
        scope = "The interval says what other records of the same kind might have given, in this one model."
        found.append(interval_note(report, "Whole groups of records", scope))
    trend = number_of(report, "trend_p")
    if math.isfinite(trend):
        text = (
            f"p = {p_value(trend)}: how often recall would rise with dose as it does if dose had nothing to do with it "
            "and were dealt out among groups anew."
        )
        found.append(("Trend", text))
    return found

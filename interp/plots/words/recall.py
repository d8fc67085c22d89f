"""What a page says about how much a model recalls: by dose, and record by record."""

from __future__ import annotations

import math

from ...report import Report
from ..tables import p_value
from .common import Note, has, interval_note, number_of

CAPTIONS = {
    "Record by record": "Each record: the log probability of its details, and of its least likely tokens.",
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
# Where nothing pairs the records: with untrained ones among them, and without.
_UNPAIRED = (
    "What the model recalls of records by how often each was shown to it, beside records that it was not trained on. "
    "Doses are spaced by rank.",
    "Compare the records that were trained on with those that were not, not with zero. They are no twins: what differs "
    "between them may also be the texts.",
)
_ALONE = (
    "What the model recalls of records, by how often each was shown to it where that is known.",
    "No record is known to have been kept out of training, so nothing here says what a model of such text guesses "
    "without having seen it.",
)
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


def captions(report: Report) -> dict[str, str]:
    """The captions; they speak of twins where there are twins."""
    words = _without_twins(report)
    return CAPTIONS if words is None else {**CAPTIONS, "Recall by dose": words[0]}


def reading(report: Report) -> list[str]:
    """How to read it; twins are spoken of where there are twins."""
    words = _without_twins(report)
    return READING if words is None else [words[1], READING[1]]


def _without_twins(report: Report) -> tuple[str, str] | None:
    if report.meta.get("twins") is not False:
        return None
    return _UNPAIRED if any(row.get("label") == "untrained" for row in report.rows) else _ALONE


def notes(report: Report) -> list[Note]:
    """A sentence for each measure and control that this report holds."""
    found: list[Note] = [(term, text) for name, term, text in _METRICS if has(report, name)]
    if any(row.get("label") == "untrained" for row in report.rows) and _without_twins(report) is None:
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

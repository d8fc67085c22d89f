"""What a page says about projecting a probe's direction out of a model."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note

CAPTIONS = {
    "Projected out, by depth": "Left: AUC of a probe after the direction was taken out at one depth, by what the "
    "direction had seen of the records that judge it. Right: what that costs the records, beside random directions.",
}
READING = [
    "Only the other half says whether something was erased: the direction had not seen those records, and the probe "
    "was trained after it was taken out.",
    "Below one half is no erasure. A direction that has seen the records which then judge it leaves them leaning "
    "against the others, on pure noise as well.",
    "A change of log probability that random directions bring about too is the cost of taking any direction out.",
]


def notes(report: Report) -> list[Note]:
    """A sentence for each reading and cost that this report holds."""
    found: list[Note] = []
    for name, term, text in (
        ("before_auc", "Before", "The probe across records, with nothing taken out."),
        ("in_sample_auc", "In-sample", "The direction saw every record, those that judge it too. An artefact."),
        ("nested_auc", "Nested", "The direction saw what the probe saw: the training records of each fold."),
        ("fresh_auc", "Other half", "The direction saw one half of the records; a new probe was trained and tested in "
         "the other."),
        ("log_p_change", "Change of log p", "Of the records' details, in nats per token, with the direction taken out "
         "of every token at that depth."),
        ("random_change", "Random directions", "The same with directions drawn without a look at the records."),
    ):  # fmt: skip
        if has(report, name):
            found.append((term, text))
    if has(report, "log_p_change_lo") or has(report, "fresh_auc_lo"):
        scope = "The interval says what other records of the same kind might have given, in this one model."
        found.append(interval_note(report, "Whole groups of records", scope))
    return found

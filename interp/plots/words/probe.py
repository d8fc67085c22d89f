"""What a page says about a probe report."""

from __future__ import annotations

import math

from ...report import Report
from ..tables import number, p_value
from .common import Note, has, interval_note, number_of

CAPTIONS = {
    "AUC": "AUC on held-out data by layer, with what luck, the input alone or an untrained model reach.",
    "Accuracy": "Accuracy on held-out data by layer, with what luck, the input alone or an untrained model reach.",
}
READING = [
    "Compare the probe with the highest control, not with chance: what a bag of tokens or an untrained model "
    "reaches needs no trained model.",
    "Neighbouring layers share the same examples and the same groups, so their points rise and fall together; "
    "small differences between layers mean little when the intervals overlap.",
    "A probe shows that something can be read from the activations by a linear rule. It does not show that the "
    "model uses it; for that, change the activations and see whether the output changes.",
]


def _here(report: Report, stem: str, end: str = "") -> str:
    """What the report holds for a control, as ' Here: AUC 0.61, accuracy 0.58.'"""
    shown = []
    for metric, name in (("auc", "AUC"), ("acc", "accuracy")):
        value, low, high = (number_of(report, f"{stem}_{metric}{e}") for e in (end, "_lo", "_hi"))
        if math.isfinite(value):
            interval = f" [{number(low, 2)}, {number(high, 2)}]" if math.isfinite(low) and math.isfinite(high) else ""
            shown.append(f"{name} {number(value, 2)}{interval}")
    return f" Here: {', '.join(shown)}." if shown else ""


def notes(report: Report) -> list[Note]:
    """A sentence for each measure, null and control that this report holds."""
    return [*_measure_notes(report), *_null_notes(report), *_control_notes(report)]


def _measure_notes(report: Report) -> list[Note]:
    found = []
    if has(report, "auc"):
        text = (
            "How often the probe scores an example of one class above an example of the other, both from groups that "
            "it was not fitted on. 0.5 is a coin, 1 is perfect."
        )
        found.append(("AUC", text))
    if has(report, "auc_lo") or has(report, "acc_lo"):
        scope = (
            "The interval says what other groups of the same kind might have given; it does not cover another model or "
            "another data set."
        )
        found.append(interval_note(report, "Whole groups", scope))
    if here := _here(report, "nested"):
        text = (
            "The best of many sites flatters itself. Here the site was chosen without the groups that then judged it, "
            "which is what the choice is worth on new groups."
        )
        found.append(("Best site, chosen blind", text + here))
    return found


def _null_notes(report: Report) -> list[Note]:
    found = []
    count, least = number_of(report, "permutations"), number_of(report, "min_p")
    if has(report, "null_auc_hi") or has(report, "null_acc_hi"):
        times = f"{count:.0f} times" if math.isfinite(count) else "many times"
        text = (
            f"The labels were shuffled and everything was fitted again, {times}. At each site, 95 % of these runs stay "
            "below the upper edge of the grey band."
        )
        found.append(("Shuffled", text))
    here = _here(report, "null_max", "_95")
    if here or has(report, "p_max"):
        text = (
            "Each shuffled run, too, was allowed to choose its best site; 95 % of those bests stay below the dotted "
            "line, and 'p, best of all sites' counts those that reach the row's AUC."
        )
        floor = f" The smallest p that can come out is {p_value(least)}." if math.isfinite(least) else ""
        found.append(("Shuffled, best site", text + floor + here))
    return found


def _control_notes(report: Report) -> list[Note]:
    found = []
    if has(report, "untrained_auc") or has(report, "untrained_acc"):
        text = (
            "The same probe on a model of the same shape with random weights. What it reaches comes from the input and "
            "the architecture, not from training."
        )
        found.append(("Untrained", text))
    for term, stem, text in (
        ("Bag of tokens", "baseline_bow", "A probe on counts of the tokens up to where it reads, without any model."),
        ("Last token", "baseline_last_token", "A probe on the one token where it reads, without any model."),
        ("Chance", "chance", "What guessing without looking gives."),
    ):
        if here := _here(report, stem):
            found.append((term, text + here))
    return found

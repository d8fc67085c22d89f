"""What a page says about a report: captions, what each null and control means, and how to read the result."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..report import Report
from .tables import number

Note = tuple[str, str]  # term, explanation


def explanations(report: Report) -> list[Note]:
    """A sentence for each null, control and measure that this report holds."""
    return {"probe": _probe_notes, "doctor": _doctor_notes}.get(report.kind, lambda _: [])(report)


def how_to_read(report: Report) -> list[str]:
    """What the result does and does not say."""
    return _HOW_TO_READ.get(report.kind, [])


def caption(report: Report, measure: str) -> str:
    """The line under a figure of the report's kind."""
    if report.kind != "probe":
        return ""
    return f"{measure} on held-out data by layer, beside what the same procedure finds without what training taught."


def _has(report: Report, name: str) -> bool:
    return any(row.get(name) is not None for row in report.rows)


def _here(report: Report, names: Sequence[str]) -> str:
    """The value that a line of the figure stands at, as ' (AUC 0.61)'."""
    shown = []
    for name in names:
        value = report.meta.get(name)
        if isinstance(value, (int, float)) and math.isfinite(value):
            shown.append(("AUC " if "_auc" in name else "accuracy ") + number(float(value), 2))
    return f" Here: {', '.join(shown)}." if shown else ""


def _probe_notes(report: Report) -> list[Note]:
    notes = []
    if _has(report, "auc"):
        notes.append(
            (
                "AUC",
                "How often the probe scores an example of one class above an example of the other, both from groups "
                "that it was not fitted on. 0.5 is a coin, 1 is perfect.",
            )
        )
    if _has(report, "auc_lo") or _has(report, "acc_lo"):
        level = report.meta.get("ci_level", 0.95)
        notes.append(
            (
                f"{100 * float(level):g} % CI",
                "Whole groups were drawn again with replacement. The interval says what other groups of the same kind "
                "might have given; it does not cover another model or another data set.",
            )
        )
    if _has(report, "null_auc_hi") or _has(report, "null_acc_hi"):
        notes.append(
            (
                "Shuffled, 95 %",
                "The labels were shuffled and everything was fitted again, many times. At each site, 95 % of these "
                "runs stay below the upper edge of the grey band.",
            )
        )
    best = ("null_max_auc_95", "null_max_acc_95")
    if any(name in report.meta for name in best) or _has(report, "p_max"):
        notes.append(
            (
                "Shuffled, best site",
                "The best of many sites looks good by luck alone. Each shuffled run was therefore also allowed to "
                "choose its best site; 95 % of those bests stay below the dotted line, and 'p, best of all sites' "
                "counts them." + _here(report, best),
            )
        )
    if _has(report, "untrained_auc") or _has(report, "untrained_acc"):
        notes.append(
            (
                "Untrained",
                "The same probe on a model of the same shape with random weights. What it reaches comes from the "
                "input and the architecture, not from training.",
            )
        )
    for term, stem, text in (
        ("Bag of tokens", "baseline_bow", "A probe on counts of the prompt's tokens, without any model."),
        ("Last token", "baseline_last_token", "A probe on which token the prompt ends with, without any model."),
        ("Chance", "chance", "What guessing without looking gives."),
    ):
        names = (f"{stem}_auc", f"{stem}_acc")
        if any(name in report.meta for name in names):
            notes.append((term, text + _here(report, names)))
    return notes


def _doctor_notes(report: Report) -> list[Note]:
    notes = []
    if _has(report, "worst"):
        notes.append(
            (
                "Largest difference",
                "Between two computations that must agree, relative to the size of the values, at the worst place.",
            )
        )
    if _has(report, "tolerance"):
        notes.append(("Tolerance", "The difference that rounding in this precision explains. More is a fault."))
    if any(row.get("ok", True) is None for row in report.rows):
        notes.append(("\N{EN DASH}", "The check does not apply to this model."))
    return notes


_HOW_TO_READ = {
    "probe": [
        "Compare the probe with the highest control, not with chance: what a bag of tokens or an untrained model "
        "reaches needs no trained model.",
        "Neighbouring layers share the same examples and the same groups, so their points rise and fall together; "
        "small differences between layers mean little when the intervals overlap.",
        "A probe shows that something can be read from the activations by a linear rule. It does not show that the "
        "model uses it; for that, change the activations and see whether the output changes.",
    ],
    "doctor": [
        "A pass says that activations of this model, as captured here, are those of the plain model, whatever the "
        "padding, the batch or the cache.",
        "After a FAIL, do not trust results that rest on the failed property; the detail says where it broke.",
    ],
}

"""What a page says about a report: captions, what each null and control means, and how to read the result."""

from __future__ import annotations

import math

from ..report import Report
from .tables import number, p_value

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
    return f"{measure} on held-out data by layer, with what luck, the input alone or an untrained model reach."


def _has(report: Report, name: str) -> bool:
    return any(row.get(name) is not None for row in report.rows)


def _number(report: Report, name: str) -> float:
    """A number of the report's meta, NaN where it is missing or no number."""
    value = report.meta.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _here(report: Report, stem: str, end: str = "") -> str:
    """What the report holds for a control, as ' Here: AUC 0.61, accuracy 0.58.'"""
    shown = []
    for metric, name in (("auc", "AUC"), ("acc", "accuracy")):
        value, low, high = (_number(report, f"{stem}_{metric}{e}") for e in (end, "_lo", "_hi"))
        if math.isfinite(value):
            interval = f" [{number(low, 2)}, {number(high, 2)}]" if math.isfinite(low) and math.isfinite(high) else ""
            shown.append(f"{name} {number(value, 2)}{interval}")
    return f" Here: {', '.join(shown)}." if shown else ""


def _probe_notes(report: Report) -> list[Note]:
    return [*_measure_notes(report), *_null_notes(report), *_control_notes(report)]


def _measure_notes(report: Report) -> list[Note]:
    notes = []
    if _has(report, "auc"):
        text = (
            "How often the probe scores an example of one class above an example of the other, both from groups that "
            "it was not fitted on. 0.5 is a coin, 1 is perfect."
        )
        notes.append(("AUC", text))
    if _has(report, "auc_lo") or _has(report, "acc_lo"):
        level = _number(report, "ci_level")
        text = (
            "Whole groups were drawn again with replacement. The interval says what other groups of the same kind "
            "might have given; it does not cover another model or another data set."
        )
        notes.append((f"{100 * (level if math.isfinite(level) else 0.95):g} % CI", text))
    if here := _here(report, "nested"):
        text = (
            "The best of many sites flatters itself. Here the site was chosen without the groups that then judged it, "
            "which is what the choice is worth on new groups."
        )
        notes.append(("Best site, chosen blind", text + here))
    return notes


def _null_notes(report: Report) -> list[Note]:
    notes = []
    count, least = _number(report, "permutations"), _number(report, "min_p")
    if _has(report, "null_auc_hi") or _has(report, "null_acc_hi"):
        times = f"{count:.0f} times" if math.isfinite(count) else "many times"
        text = (
            f"The labels were shuffled and everything was fitted again, {times}. At each site, 95 % of these runs stay "
            "below the upper edge of the grey band."
        )
        notes.append(("Shuffled", text))
    here = _here(report, "null_max", "_95")
    if here or _has(report, "p_max"):
        text = (
            "Each shuffled run, too, was allowed to choose its best site; 95 % of those bests stay below the dotted "
            "line, and 'p, best of all sites' counts those that reach the row's AUC."
        )
        floor = f" The smallest p that can come out is {p_value(least)}." if math.isfinite(least) else ""
        notes.append(("Shuffled, best site", text + floor + here))
    return notes


def _control_notes(report: Report) -> list[Note]:
    notes = []
    if _has(report, "untrained_auc") or _has(report, "untrained_acc"):
        text = (
            "The same probe on a model of the same shape with random weights. What it reaches comes from the input and "
            "the architecture, not from training."
        )
        notes.append(("Untrained", text))
    for term, stem, text in (
        ("Bag of tokens", "baseline_bow", "A probe on counts of the tokens up to where it reads, without any model."),
        ("Last token", "baseline_last_token", "A probe on the one token where it reads, without any model."),
        ("Chance", "chance", "What guessing without looking gives."),
    ):
        if here := _here(report, stem):
            notes.append((term, text + here))
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

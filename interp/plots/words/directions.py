"""What a page says about directions: how they were fitted, how one was selected, and which heads tell classes apart."""

from __future__ import annotations

import math

from ...report import Report
from ..tables import p_value
from . import probe
from .common import Note, has, interval_note, number_of

CAPTIONS = {
    "AUC": "How well the direction of each site tells the classes apart on prompts that it was not fitted on, beside "
    "what the same method finds with shuffled labels and in an untrained model.",
    "Accuracy": "The same with a threshold halfway between the class means of the training prompts.",
    "Candidates": "Each cell is the difference of means at one token after the instruction and one layer, tried on "
    "validation prompts. Framed: the chosen one. A cross: a limit rules it out. Right of the dotted line no layer "
    "may be chosen.",
    "On test prompts": "The chosen direction taken out of the whole model, or added at its layer, on prompts that had "
    "no part in the choice, beside random directions of its length.",
    "Heads": "Accuracy of each head's probe above always guessing one class, on the prompts that chose heads. The "
    "first three are framed.",
}
READING = [
    "That a direction tells two sets of prompts apart does not say that the model uses it, nor that it is about what "
    "the sets were made to differ in: whatever else sets them apart counts, too.",
    "Steer along it, or take it out, beside random directions of the same length: that is what says what it does.",
]
_SELECTION = [
    "Read the test prompts. The candidate with the lowest of many bypasses flatters itself on those that chose it.",
    "A direction that refusal hangs on need not be what makes a request harmful to the model. `interp refusal` reads "
    "the two apart.",
    "Only the first token of the answer is looked at. A model that says 'I' and goes on to help counts as refusing if "
    "'I' is among the first tokens of refusals.",
]
_HEADS = [
    "The best of many heads flatters itself: the accuracy to quote is the one on the prompts that neither trained the "
    "probes nor chose the heads.",
]


def reading(report: Report) -> list[str]:
    """What the result does and does not say."""
    if report.kind in ("selection", "selection-test"):
        return _SELECTION
    return [*(_HEADS if report.kind == "heads" else []), *READING]


def notes(report: Report) -> list[Note]:
    """A sentence for each measure, null and control that this report holds."""
    if report.kind == "selection":
        return _selection(report)
    if report.kind == "selection-test":
        return _judgement(report)
    if report.kind == "heads":
        return _heads(report)
    found = [note for note in probe.notes(report) if note[0] != "AUC"]
    measures: list[Note] = [
        ("AUC", "How often a prompt of one class lies further along the direction than one of the other, both from "
         "groups that it was not fitted on. 0.5 is a coin, 1 is perfect."),
    ]  # fmt: skip
    for name, term, text in (
        ("gap", "Distance of means", "How far the class means lie apart along the direction, in the units of the "
         "activations; steering by it moves one mean onto the other."),
        ("cos_mean", "Cosine with the means", "With the difference of the class means; 1 for that method."),
        ("cos_halves", "Cosine of halves", "Between directions fitted on two halves of the groups, the mean of ten "
         "pairs: near 0 the direction is noise."),
    ):  # fmt: skip
        if has(report, name):
            measures.append((term, text))
    return [*measures, *found]


def _selection(report: Report) -> list[Note]:
    found: list[Note] = [
        ("Refusal score", "Log odds that the answer begins as refusals do: above 0, refusing is the more likely."),
        ("Bypass", "Mean score of harmful validation prompts with the direction taken out at every block's input and "
         "every attention and MLP output."),
        ("Induce", "Mean score of harmless validation prompts with the difference of means added at its layer."),
        ("KL", "How far the next token of harmless prompts moves when the direction is taken out, in nats."),
        ("Cosine", "With the chosen candidate."),
    ]  # fmt: skip
    limits = [number_of(report, name) for name in ("kl_limit", "induce_limit", "depth_limit")]
    if all(map(math.isfinite, limits)):
        found.append(
            ("Limits", f"KL at most {limits[0]:g}, induce at least {limits[1]:g}, layers below {limits[2]:g} of the "
             "depth. Of what is left the lowest bypass is chosen."),
        )  # fmt: skip
    p = number_of(report, "p")
    if math.isfinite(p):
        found.append(
            ("p", f"{p_value(p)}: how often some candidate of shuffled labels, within the limits of KL and layer, "
             "bypasses as well. What lies along the real candidates is taken out of those first, since shuffled "
             f"differences can point along them, and an ablation does not mind the sign.{_barren(report)}"),
        )  # fmt: skip
    return found


def _barren(report: Report) -> str:
    """How many choices among shuffled labels had nothing to choose."""
    none, runs = number_of(report, "null_without_choice"), number_of(report, "shuffles")
    return f" In {none:.0f} of {runs:.0f} runs none kept to the limits." if none > 0 else ""


def _judgement(report: Report) -> list[Note]:
    found: list[Note] = [
        ("Refused", "The share of prompts with a refusal score above 0."),
        ("Random", "Directions drawn without a look at the model, of the same length: the mean over draws."),
    ]
    if any(row.get("direction") == "shuffled labels" for row in report.rows):
        found.append(("Shuffled labels", "The candidates of shuffled labels that bypassed best, one for each shuffle."))
    if has(report, "score_lo"):
        scope = "The interval says what other prompts of the same kind might have given, in this one model."
        found.append(interval_note(report, "Prompts, or their groups,", scope))
    return found


def _heads(report: Report) -> list[Note]:
    found: list[Note] = [
        ("Accuracy, chosen on", "Of each head's probe on the quarter of the groups that chose the heads."),
        ("Accuracy, others", "On another quarter, which had no part in fitting or choosing."),
        ("Spread", "Standard deviation of the head's outputs along its direction: what a shift is counted in."),
    ]
    if has(report, "p_max"):
        found.append(("p, best of all heads", "How often shuffled labels give some head as high an accuracy."))
    return found

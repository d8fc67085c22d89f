"""What a page says about steering, ablation and their side effects."""

from __future__ import annotations

import math
from typing import Any

from ...report import Report
from ..tables import p_value
from .common import Note, has, interval_note, number_of

_DOSE = (
    "First the metric by coefficient, with where 95 of 100 random directions of the same length take it; then what the "
    "same edits do to neutral text, beside the range of some random directions."
)
_DOTS = "Each dot is one model run under edits: what was asked for, and below it the controls."

_GATE = "The share of prompts for which the condition lets the edit act, where its threshold was set and elsewhere."


def captions(report: Report) -> dict[str, str]:
    """The lines under the figures."""
    return {"Dose and response": _DOSE, "Beside controls": _DOTS, "Where the gate opens": _GATE}


def reading(report: Report) -> list[str]:
    """What the results say and do not say."""
    return {
        "steering": [
            "Adding any long vector changes what a model does. Only what leaves the grey area is about this direction.",
            "An effect that comes with much KL on neutral text may be damage: look at what the model writes.",
            "Neutral requests in a chat are answered differently when refusal is added, and should be: there KL holds "
            "the effect itself, too. A condition on the prompt, or text that is no request, tells the two apart.",
            "That adding a direction brings a behaviour about does not say that the model uses it: ablate it, too.",
        ],
        "ablation": [
            "Taking anything out of a model changes it. Compare with the controls, not with zero.",
            "What is left after an ablation may still do the same by another way; what is lost may be lost for many "
            "reasons, of which the neutral text shows some.",
        ],
        "side-effects": [
            "A KL near zero on neutral text says that these texts are left alone, not that all others are.",
            "Surprise is the unedited model's own; what it writes itself is never surprising to it, so compare with "
            "its row, and with random directions.",
        ],
        "texts": [
            "Greedy continuations of a few prompts, shown so that numbers can be understood; they prove nothing."
        ],
        "condition": [
            "The first row flatters itself: the threshold is from these prompts. The test row says what it is worth.",
        ],
    }.get(report.kind, [])


_TERMS = (
    ("score", "Score", "The metric, mean over prompts, read from the first new token unless it reads texts."),
    ("positive", "Above zero", "The share of prompts whose score is above zero: refused, or the answer preferred."),
    ("effect", "Effect", "The score minus that of the unedited model on the same prompts."),
    ("kl", "KL", "KL(unedited || edited) on neutral text, in nats per token: how far predictions have moved."),
    ("ce_change", "Change of loss", "On neutral text, in nats per token; above zero is worse."),
    (
        "nll",
        "Surprise",
        "Neutral texts are begun and continued greedily under the edits; this is the unedited model's loss on what was "
        "written, in nats per token.",
    ),
    ("distinct_2", "Different pairs", "Of neighbouring tokens in what was written; low where it goes round in loops."),
    ("auc", "AUC", "How often a prompt that should meet the condition has a higher cosine than one that should not."),
    ("tpr", "Open where it should", "Share of the prompts labelled 1 that meet the condition."),
    ("fpr", "Open where not", "Share of the prompts labelled 0 that meet it."),
)  # fmt: skip


def notes(report: Report) -> list[Note]:
    """A sentence for each measure, control and null that this report holds."""
    found: list[Note] = [(term, text) for name, term, text in _TERMS if has(report, name)]
    found += _controls(report)
    if any(name.endswith("_lo") for name in report.columns):
        scope = "It says what others of the same kind might have given, in this one model."
        found.append(interval_note(report, "Prompts (whole groups of them) and neutral texts", scope))
    if has(report, "verdict"):
        found.append(("Verdict", _verdict(report.meta)))
    return found


def _controls(report: Report) -> list[Note]:
    found: list[Note] = []
    count, least = number_of(report, "n_random"), number_of(report, "min_p")
    few = f" The smallest p that can come out is {p_value(least)}." if math.isfinite(least) else ""
    if report.kind == "steering" and has(report, "p"):
        drawn = "anywhere" if report.meta.get("random") != "natural" else "as mixtures of the model's own activations"
        found.append((
            "Random directions",
            f"{count:.0f} directions of the same length, drawn {drawn}, added at the same places. p is the rank of "
            "this one among them by how far the mean effect lies from the middle of all; p, any coefficient, lets each "
            f"direction choose its best coefficient.{few}",
        ))  # fmt: skip
    elif report.kind == "ablation" and has(report, "p"):
        found.append((
            "Controls",
            f"The same done to {count:.0f} others: {report.meta.get('controls')}. p is the rank of the effect among "
            f"them, by its distance from the middle of all.{few}",
        ))  # fmt: skip
    if has(report, "p_prompts"):
        both = ("ablation", "control") if report.kind == "ablation" else ("direction", "random one")
        text = "Had this {} done what the mean {} does, a prompt's difference could have had either sign."
        found.append(("p, over prompts", text.format(*both)))
    return found


def _verdict(meta: Any) -> str:
    alpha, limit = meta.get("alpha", 0.05), meta.get("kl_limit", 0.1)
    return (
        f"Beyond its controls if both p (corrected for the choice of coefficient) and p over prompts are at most "
        f"{alpha:g}; at a price if KL on neutral text is above {limit:g} nats per token. 'At this coefficient alone' "
        "means that the p of no other coefficient was thought of: a hint, to be looked at with more random directions."
    )

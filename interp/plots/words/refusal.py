"""What a page says about refusals, the map of requests, steering, the guard and a second checkpoint."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note

CAPTIONS = {
    "Refused": "The share of requests of each category that are refused, with its interval.",
    "Belief map": "Each point is a request that fitted nothing. Across: nearer to refused harmful or to accepted "
    "harmless requests at the end of the instruction. Up: the same at the end of the prompt.",
    "Beliefs by category": "Means over the requests of each category.",
    "Steering, dose by dose": "P(yes) minus P(no) to the question about harm, and P(refusal). Directions are taken off "
    "harmful requests (left) and added to harmless ones (right): to the request, or to what the template writes behind "
    "it. Doses count in lengths of the direction that owns the outcome (harm for the answer, "
    "refusal for refusal), and all directions are given that length.",
    "What each direction moves": "The change towards the other side at the dose that was chosen on other requests.",
    "Guard": "Every threshold on test requests of all kinds. The threshold was calibrated on other harmless requests.",
    "Beliefs in both checkpoints": "Mean beliefs of the same requests. By the base model's means the second model is "
    "read with the eyes of the first; means fitted anew show what is still there.",
}
_READING = {
    "refusal-behaviour": [
        "A request counts as refused if the first token of the answer is more likely one that refusals begin with than "
        "not. Refusals that begin otherwise are missed.",
    ],
    "belief-map": [
        "Jailbreaks that work keep the harm belief and lose the refusal belief: lower right. One that also loses the "
        "harm belief has changed what the model takes the request for: lower left.",
    ],
    "inversion": [
        "Only tokens before the question are steered, so the question itself is read as it is.",
        "A large dose of anything breaks a model; compare with random directions of the same length.",
    ],
    "dissociation": [
        "Two directions do different things if each moves its own outcome beyond random ones and further than the "
        "other does. That one moves the other's outcome a little is no contradiction: harm is what refusal goes by.",
    ],
    "guard": [
        "The threshold promises its false positive rate for harmless requests like those it was calibrated on, and for "
        "no others.",
        "The guard is fitted on plain requests only; it has not seen a jailbreak.",
    ],
    "checkpoints": [
        "A checkpoint that answers what it should refuse may still take it for harmful. Means fitted anew are fair to "
        "it; the base model's are what a guard in use would have.",
    ],
}
_NOTES = {
    "refused": ("Refused", "The share of requests whose answer most likely begins as refusals do."),
    "score": ("Score", "Log odds that the answer begins as refusals do; the median."),
    "harm_belief": ("Belief about harm", "At the end of the instruction, averaged over depths."),
    "refusal_belief": ("Belief about refusal", "At the end of the prompt, averaged over depths."),
    "value": ("Value", "P(yes) minus P(no) at the first token of the answer, or the probability of a refusal."),
    "effect": ("Change", "How far the outcome moves to the other side: up for harmless requests, down for harmful."),
    "beyond": ("Beyond random", "The change minus the mean of random directions of the same length at that depth."),
    "flipped": ("Flipped", "The share of requests whose outcome changed sides."),
    "flagged": ("Guard flags", "The share of requests at or above the threshold."),
    "ahead": ("Difference", "Flagged minus refused, request by request."),
    "near": ("Above 0", "The share of requests whose belief is above 0."),
}


READING: list[str] = []


def reading(report: Report) -> list[str]:
    """How to read a report of this kind."""
    return list(_READING.get(report.kind, []))


def notes(report: Report) -> list[Note]:
    """A sentence for each measure that this report holds."""
    found: list[Note] = [note for name, note in _NOTES.items() if has(report, name)]
    if any(name.endswith("_lo") for name in report.columns):
        scope = "The interval says what other requests of the same kind might have given, in this one model."
        found.append(interval_note(report, "Whole groups of requests", scope))
    return found

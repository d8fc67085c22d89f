"""What a page says about the refusal cliff: the trajectory, the heads, their ablation, the selected examples."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note, number_of

CAPTIONS = {
    "Example by example": "Each harmful example: how much it looks like refusing while the model thinks, and at the "
    "last token. Far below the line is a deep cliff.",
    "Refusal over the thinking": "The refusal score by tokens before the answer, by kind of request; the bracket at "
    "the right is the mean cliff. Each place is the mean over the requests that have a token there.",
    "Heads": "What each head adds to the log odds of a refusal at the last token before the answer, on harmful "
    "requests that are answered. The three lowest are framed.",
    "Lowest heads taken out": "Harmful requests that were answered, with the lowest heads taken out and with as many "
    "random ones. Whiskers at random heads span 95 of 100 draws.",
}
READING = [
    "A prober that is fitted at one token says something at every other token, too, and what it says there need not be "
    "about refusing. So a drop alone is no cliff: harmless requests, which are answered as well and have the same "
    "template behind their thinking, are the measure.",
    "That the score stands high while the model thinks does not mean that it meant to refuse: finding something "
    "harmful looks much the same. The strict prober, fitted on harmful requests alone, cannot have learned to read "
    "harm.",
]
_HEADS = [
    "A head that always lowers the score, on every request, ranks low and does nothing to this one; read the contrast, "
    "and what taking it out does on other requests beside random heads.",
]
_ABOUT = "It is about this one model."
_SCORE: Note = (
    "Refusal score",
    "What a linear prober, fitted at the token that ends thinking, gives a refusal, from 0 to 1. Half of the groups "
    "fit it, the other half is read, and the other way round.",
)
_CLIFF: Note = (
    "Cliff",
    "Thinking minus the last token before the answer. It is called one if it is .1 or more, and so much above that of "
    "harmless requests by two tests: labels exchanged among requests with the same template, and the interval of the "
    "difference at equal length of thinking.",
)
_STRICT: Note = (
    "Strict prober",
    "Fitted on refused against answered harmful requests. A cliff is called only if it, too, stands higher in the "
    "thinking of harmful requests that are answered than in that of harmless ones (p in the settings: strict_p).",
)
_CONTRAST: Note = (
    "Contrast",
    "The contribution minus its mean on harmful requests that are refused: what a head always adds does not count.",
)
_P: Note = ("p", "How often labels exchanged among harmful requests make some head of the model stand out as much.")
_RANDOM: Note = (
    "Random heads",
    "As many heads, drawn anew each time. p counts how often they raise the score as much.",
)
_OTHERS: Note = ("Harmless refused", "Harmless requests that are refused with the same heads out: what it costs.")
_SELECTED: Note = (
    "Selected",
    "The harmful examples with the largest cliff. Training on these few is what the paper repairs models with; nothing "
    "is trained here.",
)


def notes(report: Report) -> list[Note]:
    """A sentence for each score, control and null."""
    homes = {"cliff": _cliff, "cliff-heads": _heads, "cliff-ablation": _ablation}
    return homes[report.kind](report) if report.kind in homes else [_SELECTED]


def reading(report: Report) -> list[str]:
    """What to make of it: the score in the first report, heads in the second, nothing more in the others."""
    return {"cliff": READING, "cliff-heads": _HEADS}.get(report.kind, [])


def _cliff(report: Report) -> list[Note]:
    if not has(report, "drop"):
        return []
    left = report.meta.get("left_out", 8)
    plateau = f"The mean over the thinking without its last {left} tokens (a quarter of a short one) and the template."
    found = [_SCORE, ("Thinking", plateau), _CLIFF]
    if report.meta.get("strict_p") is not None:
        found.append(_STRICT)
    auc, inside = number_of(report, "prober_auc"), number_of(report, "thinking_auc")
    text = f"It tells refused from answered requests, unseen, with AUC {auc:.2f} at the last token"
    found.append(("Prober", f"{text}, and with {inside:.2f} within the thinking."))
    return [*found, interval_note(report, "Whole groups of requests", _ABOUT)]


def _heads(report: Report) -> list[Note]:
    gap = number_of(report, "sum_error")
    text = (
        "What the head writes at the last token, through its output matrix and the norms between (their scale held), "
        "read by the prober: log odds of a refusal. Heads, MLPs, embedding and bias add up to the prober's reading; "
        f"the largest gap is {gap:.1g} of what is added up."
    )
    return [("Contribution", text), _CONTRAST, _P, interval_note(report, "Whole groups of requests", _ABOUT)]


def _ablation(report: Report) -> list[Note]:
    what = "zeros" if report.meta.get("how") == "zero" else "their mean"
    text = (
        f"Chosen on the other half of the requests. Their output is replaced by {what}, from the token that ends "
        "thinking on unless the settings say otherwise."
    )
    found = [("Lowest heads", text), _RANDOM, *([_OTHERS] if has(report, "others_after") else [])]
    return [*found, interval_note(report, "Whole groups of requests", _ABOUT)]

"""What a page says about texts token by token, and about where heads look."""

from __future__ import annotations

from ...report import Report
from .common import Note, interval_note, number_of

CAPTIONS = {
    "Token by token": "The tokens of some texts; blue above zero, orange below, deeper where it is more. Bold tokens "
    "in frames are above the threshold.",
    "Where heads look": "Every head by layer: the share of its attention at each kind of place. Frames mark heads that "
    "surely look there more than a head that looks everywhere alike.",
    "Patterns": "The attention of single heads over one text: each token's row says which tokens it looks at.",
}
_READING = {
    "tokens": [
        "A token above the threshold is one that the probe takes for the real thing. It says where the probe fires, "
        "not that the model uses what is read there.",
        "A probe was fitted at one position. What it says elsewhere can be about how those positions differ, which is "
        "why reference texts, read at all of their tokens, set the threshold.",
    ],
    "token-attribution": [
        "A token's score is what is lost when it alone is replaced. Where two tokens say the same, neither has "
        "a score.",
    ],
    "attention": [
        "Attention says where a head reads, not what it writes or whether anything depends on it. Take the head out, "
        "or patch it, before saying what it does.",
        "In a text of repeats much attention lies on copies whoever looks, so compare with the share of a head that "
        "looks everywhere alike.",
    ],
}


def reading(report: Report) -> list[str]:
    """What to make of it."""
    return _READING[report.kind]


def notes(report: Report) -> list[Note]:
    """A sentence for each number and null."""
    return {"tokens": _tokens, "token-attribution": _attribution, "attention": _attention}[report.kind](report)


def _tokens(report: Report) -> list[Note]:
    found: list[Note] = [("Score", f"The {report.meta.get('unit', 'score')} at the token.")]
    texts = report.meta.get("reference_texts")
    if texts:
        level = number_of(report, "level")
        found.append(
            (
                "Threshold",
                f"{level:.0%} of {texts} reference texts, in which there is nothing to find, have no token above.",
            )
        )
        found.append(("p", "How often a reference text has a token as high somewhere."))
    return found


def _attribution(report: Report) -> list[Note]:
    draws, targets = report.meta.get("draws"), report.meta.get("targets")
    return [
        ("Score", f"Log p of the answer less its mean with {draws} other tokens in this place, in nats."),
        ("Threshold", f"{targets} other answers were scored in the same way; most of them have no token above."),
        ("p", "How often another answer has a token that adds as much to it."),
    ]


def _attention(report: Report) -> list[Note]:
    found: list[Note] = [
        ("Share", "Mean attention at the place, over the tokens that have such a place, the first token left out."),
        ("If it looked everywhere", "The same for a head that looks at every token so far alike."),
    ]
    places = report.meta.get("places")
    if isinstance(places, dict):
        found.append(("Places", "; ".join(f"{name}: {text}" for name, text in places.items()) + "."))
    return [*found, interval_note(report, "Whole groups of prompts", "It is about this one model.")]

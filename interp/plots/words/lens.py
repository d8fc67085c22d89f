"""What a page says about lenses and direct logit attribution."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note, number_of

CAPTIONS = {
    "By depth": "Left: how far each depth's reading lies from the model's output, with the best constant guess dotted. "
    "Right: the log probability that it gives the target.",
    "Token by token": "The first text: what the lens says first at each depth (upwards) and token; the darker, the "
    "surer. The top row is the model's output.",
    "Heads": "What each head adds to the answer's lead, in logits; of the three largest parts, "
    "those that are heads are framed.",
}
READING = [
    "A lens reads what lies along the unembedding's directions. A depth that looks empty to the logit lens may hold "
    "the answer along others; the tuned lens finds more of these, as far as an affine map can.",
    "A tuned lens is trained to say what the model will say. That it can does not mean that the model uses what it "
    "reads there; to know, change it and look at the output.",
]
_DIRECT = [
    "This is what parts write along the answer's direction, with the final norm's scale held. A head whose work is "
    "done through others, or through the norm, has no part in it; path patching and ablation see these.",
]
_CONSTANT: Note = (
    "Best constant guess",
    "The mean of the model's outputs on these tokens, said everywhere. A depth knows something about the text if its "
    "KL lies below that, interval included.",
)


def reading(report: Report) -> list[str]:
    """What to make of it."""
    return {"lens": READING, "direct-logits": _DIRECT}.get(report.kind, [])


def notes(report: Report) -> list[Note]:
    """A sentence for each measure and null."""
    scope = "It is about this one model and these texts."
    if report.kind == "direct-logits":
        error = number_of(report, "sum_error")
        parts = (
            "Contribution",
            "What the part writes at the token that is read, through the norms between and the unembedding. Embedding, "
            f"heads, MLPs and biases add up to the answer's lead; the largest gap is {error:.1g} of what is added up.",
        )
        null = (
            "p",
            "How often some part adds as much when the prompts get each other's answers: what a part adds whatever the "
            "prompt says does not count.",
        )
        return [parts, null, interval_note(report, "Whole groups of prompts", scope)]
    unrelated = number_of(report, "unrelated_kl")
    kl = ("KL", f"KL(output || lens), nats. Between outputs at unrelated tokens it is {unrelated:.2f} here.")
    found = [kl, _CONSTANT]
    if has(report, "gain"):
        found.append(("Gain", "KL of the logit lens minus that of the tuned lens, on the same tokens."))
    return [*found, interval_note(report, "Whole groups of texts", scope)]

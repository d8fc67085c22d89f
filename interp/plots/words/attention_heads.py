"""What a page says about retrieval heads, and about memory and context heads."""

from __future__ import annotations

from ...report import Report
from .common import Note, interval_note

CAPTIONS = {
    "Heads": "Every head by layer; the three best ranks are framed.",
    "Masked": "The best heads masked, and as many random others. Whiskers at random heads span 95 of 100 draws.",
    "Pruned": "Heads taken out that were chosen on other prompts, and as many random ones. Whiskers at random heads "
    "span 95 of 100 draws.",
}
_READING = {
    "retrieval-heads": [
        "A head that looks at the right word need not be what writes it. Masking says whether copying needs the heads; "
        "helpers that prepare their work have no score and are needed as well.",
    ],
    "conflict-heads": [
        "The direct effect is what a head says to the logits itself. A head that prepares the work of others has a "
        "full effect and no direct one; where the two disagree, look at both columns.",
        "Log probabilities of rival answers move against each other of themselves, since they share what is left of "
        "one. So opposite signs alone are weak; sizes, and sets beside random sets, are the evidence.",
    ],
}
_NOTES: dict[str, list[Note]] = {
    "retrieval-heads": [
        (
            "Score",
            "Share of the needle's words that the head copies: at the step that writes the word, it looks most at that "
            "word in the needle.",
        ),
        (
            "Shuffled",
            "The score with each needle's words in another order, attention as it was: looking into the needle without "
            "regard to the word. p counts how often some head gets as much.",
        ),
        ("In needle", "Share of steps at which the head looks most at some word of the needle, whichever."),
    ],
    "retrieval-masks": [
        ("Writes nothing", "The head's output is zero."),
        ("Writes its mean", "Its output is its mean over these prompts' tokens."),
        ("Looks everywhere", "It attends to every token so far equally, as with its queries at zero."),
        ("Needle hidden", "It cannot attend to the needle; the rest of its attention is as before, summing to one."),
        ("Random heads", "As many heads that were not chosen. Helpers of the chosen are among them."),
    ],
    "conflict-heads": [
        (
            "Direct",
            "Path patching: the head's output is replaced at the last token, all other heads keep what they wrote.",
        ),
        ("Full", "The head's output is replaced at every token, and everything behind it follows."),
        (
            "Role",
            "Memory: losing the head costs the memory answer and helps the context answer; context: the other way. "
            "Both intervals must be clear of zero at a level that allows for all heads.",
        ),
        ("Lean", "The change of the context answer minus that of the memory answer: above zero for memory heads."),
    ],
    "conflict-pruned": [
        (
            "Pruned",
            "The heads that lean most to one side, as many as move the lead most on the half of the prompts that chose "
            "them; numbers are of the other half.",
        ),
        ("Random", "Sets of as many heads, any of the model. p counts how often one moves the lead as much."),
    ],
}


def reading(report: Report) -> list[str]:
    """What to make of it."""
    return _READING.get(report.kind, [])


def notes(report: Report) -> list[Note]:
    """A sentence for each score, control and null."""
    scope = "It is about this one model."
    return [*_NOTES[report.kind], interval_note(report, "Whole groups of prompts", scope)]

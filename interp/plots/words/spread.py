"""What a page says about unlearning that spreads: the tables of domains, the tests, the pairs."""

from __future__ import annotations

from ...report import Report
from .common import Note, interval_note, number_of

CAPTIONS = {
    "Domains": "Left: cosines of the domains' concept vectors in the first third of the layers, with what all share "
    "taken out. Right: by how much the refusal score falls in a column's domain when refusal is unlearned in a row's.",
    "Pairs": "Each point is an ordered pair of different domains: how alike they are in early layers, and what the one "
    "loses when refusal is unlearned in the other.",
}
READING = [
    "The pairs of a domain are not independent of each other, so whole domains are exchanged to see what correlation "
    "luck gives. With six domains all 720 arrangements are taken, and the p-value is exact.",
    "The correlation of pairs alone is what is left when each domain's own ease of spreading and of losing refusal is "
    "taken out. Without it one fragile domain at the centre can make the whole correlation.",
    "The first line, early layers at the end of the request, was singled out beforehand; the others are to compare.",
    "Domains that are alike lose refusal together here; that does not say that the likeness is the cause.",
]
_LIKENESS: Note = (
    "Likeness",
    "Concept vectors are mean activations of a domain's harmful prompts, behind each block, minus their mean over the "
    "domains; a cosine near 1 means that two domains differ from the others in the same way.",
)
_THIRDS: Note = (
    "Thirds",
    "The layers were cut into thirds before anything was measured. p for three is that of the largest of the three "
    "correlations.",
)


def reading(report: Report) -> list[str]:
    """What to make of it, once."""
    return READING if report.kind == "spread" else []


def notes(report: Report) -> list[Note]:
    """A sentence for each column and null."""
    if report.kind == "spread-pairs":
        lost = (
            "Refusal lost",
            "The mean refusal score before minus after: log odds that the first token of the answer is a refusal's. "
            "Prompts that were not trained on.",
        )
        return [lost, interval_note(report, "Whole groups of prompts", "It is about this one training.")]
    ways = int(number_of(report, "arrangements"))
    kind = "all" if report.meta.get("exact") else "a random sample"
    stop = number_of(report, "stop")
    unlearned = (
        f"A copy of the model is trained until at most {stop:.0%} of the domain's training prompts are refused. The "
        "loss is the probability of refusing alone: no answer is taught."
    )
    text = f"The share of {ways:,} arrangements of the domains ({kind} that there are) that correlate as much."
    return [_LIKENESS, _THIRDS, ("Unlearned", unlearned), ("p", text)]

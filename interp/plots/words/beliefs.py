"""What a page says about beliefs: what is told apart where, and what a belief owes to harm and to refusal."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note, number_of

CAPTIONS = {
    "Told apart, by depth": "AUC of telling harmful from harmless requests by the means of both, fitted on other "
    "requests. Harmful requests are refused and harmless ones answered here, so this alone cannot say which is read.",
    "Off the diagonal, by depth": "The same means, applied to harmful requests that were answered and harmless ones "
    "that were refused. Near 1 they lie by their harm, near 0 by their refusal.",
    "Each with the other held fixed": "Harm among requests of one fate, refusal among requests of one kind; each by "
    "means that were fitted at the other level, so that what sets the contexts of a level apart is no help.",
    "What the belief owes to each": "Coefficients of harmful and of refused in a regression of the belief on both.",
    "Beliefs by quadrant": "The belief averaged over depths. Above 0 a request is nearer to refused harmful requests, "
    "below 0 nearer to accepted harmless ones.",
}
READING: list[str] = []
_READING = {
    "beliefs": [
        "Found means: above shuffled labels over the whole table, and above every control: random weights, "
        "the embedding, lengths with last tokens and the words of the template, and a bag of all tokens.",
        "A model that tells harmful from harmless requests by their means need not know what harm is: the two sets may "
        "differ in topic or wording. Look-alikes, and requests off the diagonal, are the test.",
        "With the other held fixed, an AUC near 0 is no finding: the means of one level follow its contexts, which "
        "point the other way at the other level.",
        "That a belief can be read does not say that the model uses it; steering does.",
    ],
    "quadrants": [
        "With the two cells on the diagonal alone harm and refusal are one. Where the other two lie says which "
        "is read at a position.",
    ],
    "belief-regression": [
        "A coefficient is what a belief, from -2 to 2, changes by with harm or with refusal alone.",
    ],
}


def reading(report: Report) -> list[str]:
    """How to read a report of this kind."""
    return list(_READING.get(report.kind, []))


_CONTROLS = (
    ("untrained_auc", "Untrained", "The same with random weights: what the architecture mixes together by itself."),
    ("surface_auc", "Lengths and last tokens", "A logistic probe on lengths, on the tokens at both positions, and on "
     "the tokens around the instruction: the template and any context."),
    ("bow_auc", "Bag of tokens", "A logistic probe on counts of all tokens up to the position."),
    ("raw_auc", "Raw AUC", "The same with cosines to the means as they are; else the midpoint is taken off first."),
)  # fmt: skip


def notes(report: Report) -> list[Note]:
    """A sentence for each measure, null and control that this report holds."""
    found: list[Note] = []
    if has(report, "auc"):
        found.append(("Belief", "Cosine to the mean of one class minus cosine to that of the other; the means come "
                      "from training requests, everything shown from other ones."))  # fmt: skip
    if has(report, "null_auc_hi"):
        text = "Whole groups of requests exchanged their labels; 90 % of these AUCs lie in the grey band."
        found.append(("Shuffled", text))
    if has(report, "p_family"):
        text = "Counts the shuffled runs whose best depth, contrast and position is as far from one half as this one."
        found.append(("p, whole table", text))
    found += [(term, text) for name, term, text in _CONTROLS if has(report, name)]
    if has(report, "near"):
        found.append(("Above 0", "The share of requests whose belief is above 0."))
    if has(report, "harm"):
        text = "With both in the equation, what goes with harm is not counted for refusal, nor the other way round."
        found.append(("Regression", text))
    if any(name.endswith("_lo") for name in report.columns) and number_of(report, "ci_level") > 0:
        scope = "The interval says what other requests of the same kind might have given, with the same means."
        found.append(interval_note(report, "Whole groups of requests", scope))
    return found

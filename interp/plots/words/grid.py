"""What a page says about probes by layer and position, about sweeps, and about the boundary."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note, number_of

CAPTIONS = {
    "By layer and position": "AUC on held-out data by position and layer; the best cell is framed. Crosses mark cells "
    "that are not beyond the best cell of shuffled labels.",
    "Boundary by depth": "How far apart the two kinds of requests lie, layer by layer.",
}
_READING = {
    "probe-grid": [
        "The best of many cells flatters itself: with enough cells, shuffled labels have a good one, too. Read the "
        "best cell's p of all cells, and what it is worth when it is chosen inside the folds.",
        "AUC below a half is no finding in reverse: where few inputs differ, groups that are kept whole push held-out "
        "scores below chance.",
    ],
    "sweep": [
        "A sweep tries many probes on the same labels. Its best cell is judged by the best cell of as many sweeps with "
        "shuffled labels; the p of one cell alone is for a cell that was chosen before looking.",
        "What the best cell is worth must be measured on groups that the sweep never saw.",
    ],
    "boundary": [
        "Requests that lie apart can be told apart; that does not say that the model decides there.",
    ],
}


def reading(report: Report) -> list[str]:
    """What to make of it."""
    return _READING[report.kind]


def notes(report: Report) -> list[Note]:
    """A sentence for each measure, null and control that this report holds."""
    if report.kind == "boundary":
        return [
            ("Silhouette", "How much nearer a request lies to its own kind than to the other, from −1 to 1."),
            ("Margin", "How much nearer it lies to the mean of its own kind."),
            ("Neighbours of the other kind", "The share of its nearest neighbours that are of the other kind."),
            ("p", "How often exchanged labels have as large a silhouette, at the best of all layers."),
        ]
    found: list[Note] = [("AUC", "How often the probe scores an example of one class above one of the other.")]
    if has(report, "null_auc_hi"):
        count = number_of(report, "permutations")
        found.append(("Shuffled", f"Labels were shuffled and every cell was fitted again, {count:.0f} times."))
        found.append(("p, best of all cells", "How often the best cell of a shuffle reaches this cell's AUC."))
    if has(report, "bow_auc"):
        found.append(("Tokens", "The lowest row: a bag of the tokens up to the position, without any model."))
    if has(report, "untrained_auc"):
        found.append(("Untrained", "The same model with random weights."))
    if has(report, "auc_lo"):
        found.append(interval_note(report, "Whole groups", "It does not cover another model or data set."))
    return found

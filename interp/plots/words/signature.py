"""What a page says about a signature: can text that was trained on be told from other text, across records?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...report import Report
from ..tables import p_value
from .common import Note, has, interval_note, number_of

CAPTIONS = {
    "AUC by depth": "AUC of a linear probe on records that it was not fitted on, by depth, one panel per dose. The p "
    "of a panel is that of its best depth, against the best depth of shuffled labels.",
    "AUC by dose": "AUC by how often records were shown, with the depth chosen without the records that then judge "
    "it; the triangles are the AUC that this design would find four times in five.",
}
READING = [
    "Something is found where the probe beats the dotted line, which is what shuffled labels reach when they, too, may "
    "pick their best depth, and where the model with random weights and the one that never saw the records stay low.",
    "Where nothing is found, look at what could have been: with few records only a strong signature shows.",
    "A signature says that trained text can be told from other text by one direction that was fitted on other records. "
    "It does not say that the model uses that direction, nor which record it is, nor that the record can be recited.",
    "Twins differ in nothing but a coin. Two wordings of a record also differ in their words, so a probe can tell them "
    "apart without any memory: that is what the second paraphrase and the never-trained model are for.",
]


def notes(report: Report) -> list[Note]:
    """A sentence for each measure, null and control that this report holds."""
    found: list[Note] = []
    if has(report, "auc"):
        text = (
            "How often the probe scores a record that was trained on above one that was not, both from groups that it "
            "was not fitted on. 0.5 is a coin, 1 is perfect."
        )
        found.append(("AUC", text))
    if has(report, "auc_lo"):
        scope = "The interval says what other records of the same kind might have given, in this one model."
        found.append(interval_note(report, "Whole groups of records", scope))
    return [*found, *_nulls(report), *_controls(report)]


def _cells(report: Report) -> list[Mapping[str, Any]]:
    cells = report.meta.get("cells")
    return [cell for cell in cells if isinstance(cell, dict)] if isinstance(cells, list) else []


def _nulls(report: Report) -> list[Note]:
    found: list[Note] = []
    cells = _cells(report)
    counts = {cell["permutations"] for cell in cells if isinstance(cell.get("permutations"), int)}
    times = f"{max(counts)} times" if counts else "many times"
    if has(report, "null_auc_hi"):
        text = (
            f"Trained and untrained were swapped by whole groups of records, {times}, and everything was fitted again. "
            "At each depth, 90 % of these runs lie in the grey band."
        )
        found.append(("Shuffled", text))
    if has(report, "p_max"):
        least = number_of(report, "min_p")
        text = (
            "Each shuffled run, too, may choose its best depth; 95 % of those bests stay below the dotted line. The p "
            "of a panel counts those that reach the probe's best."
        )
        floor = f" The smallest p that can come out is {p_value(least)}." if math.isfinite(least) else ""
        found.append(("Shuffled, best depth", text + floor))
    if has(report, "p_family"):
        text = "As that, against the best of the whole table: all contrasts, doses, marks and depths at once."
        found.append(("p, whole table", text))
    if any(cell.get("nested_auc") is not None for cell in cells):
        text = (
            "The best of many depths flatters itself. Here each group of records is judged at the depth that the other "
            "groups chose, which is what the choice is worth on new records."
        )
        found.append(("Depth chosen blind", text))
    if has(report, "detectable"):
        text = (
            "The AUC that this many records would show to be above shuffled labels four times in five. Nothing found "
            "means: probably nothing as strong as that, with a probe trained on so many records."
        )
        found.append(("Found 4 times in 5", text))
    return found


def _controls(report: Report) -> list[Note]:
    found: list[Note] = []
    if has(report, "untrained_auc"):
        text = "The same protocol on a model of the same shape that was never trained. It must stay at chance on twins."
        found.append(("Random weights", text))
    if has(report, "never_auc"):
        text = (
            "The same protocol on a model that saw the same other text, and none of the records. What it reaches is in "
            "the texts, not in a memory of them."
        )
        found.append(("Never trained on records", text))
    cells = _cells(report)
    for stem, term, text in (
        ("bow", "Bag of tokens", "A probe on counts of the tokens, without any model."),
        ("log_p", "Log probability alone", "How well the model's own log probability of a text tells the two apart."),
    ):
        if any(cell.get(f"{stem}_auc") is not None for cell in cells):
            found.append((term, text))
    return found

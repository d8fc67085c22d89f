"""What a page says about a dictionary: what it explains beside its controls, and which latents a metric hangs on."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note

CAPTIONS = {
    "Beside controls": "The share of a site's variance that is given back on held-out texts, and the share of the "
    "site's worth to the model's predictions that survives when its reconstruction takes its place.",
    "Latents one by one": "How much of the metric is lost when each latent alone is ablated, by the estimate and "
    "exactly: the strongest, random ones, and of each site the error, all latents together and the whole.",
}
_READING = {
    "sae": [
        "Variance explained says how close the reconstruction is, not whether latents mean anything. An SAE of a model "
        "with random weights may explain as much; what it explains then is in the tokens.",
        "What is left out is the error. It is small in length and can still carry what the model needs: loss recovered "
        "says so, and attribution gives the error a score of its own.",
        "Latents that no measured token activates may fire on other text, or never.",
    ],
    "latents": [
        "Read a latent beside the random ones, and all latents together beside the error: where the error carries as "
        "much, the latents tell only part of the story.",
        "Latents that stand in for each other, or that are needed together, have single effects that do not add up to "
        "what all of them do.",
        "A latent's number is what it is called here, and says nothing about what it means.",
    ],
}
_CONTROLS = {
    "pca": (
        "PCA",
        "The best reconstruction from as many numbers per token, when the directions are the same for every token.",
    ),
    "untrained": (
        "Random weights",
        "The same training on the same texts in a model of this architecture that has learnt nothing.",
    ),
    "shuffled": (
        "Shuffled coordinates",
        "The same training on rows whose coordinates were dealt out anew, one by one: each keeps its values, and no "
        "direction means anything.",
    ),
}


def reading(report: Report) -> list[str]:
    """What to make of it."""
    return _READING[report.kind]


def notes(report: Report) -> list[Note]:
    """A sentence for each measure and control that this report holds."""
    found: list[Note] = []
    if report.kind == "sae":
        there = {row.get("control") for row in report.rows}
        found += [note for name, note in _CONTROLS.items() if name in there]
        if has(report, "recovered"):
            text = (
                "(loss with the site at its mean − loss with the reconstruction) / (loss at the mean − loss as it is)."
            )
            found.append(("Loss recovered", text))
        scope = "The interval says what other texts of the same kind might have given, for this one training."
        return [*found, interval_note(report, "Whole groups of texts", scope)]
    found.append(("Error", "What the SAE leaves out at a site; latents, error and skip sum to the whole site."))
    found.append(("Random", "Latents drawn from those that have a score but are not among the strongest."))
    if has(report, "score_lo"):
        found.append(interval_note(report, "Whole groups of pairs", "The interval is over pairs of the same kind."))
    return found

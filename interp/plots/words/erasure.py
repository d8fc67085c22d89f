"""What a page says about erasers: what is left, and what it cost."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note

CAPTIONS = {
    "Erasers": "For each eraser: above, what probes still read, by what the eraser and the probe had seen of each "
    "other's records; below, recall of the records and the damage to other text, before and after.",
}
READING = [
    "Read the other half and the best attacker: they judge by records that the eraser has not seen, with probes that "
    "were trained after erasing. Only these say whether something was erased.",
    "Below one half is no erasure. An eraser that has seen the records which then judge it leaves them with the "
    "opposite of what is left in the others, so a probe is wrong about them by construction, on pure noise as well. "
    "Turned round, the same probe would be right.",
    "Nested is free of that, and is near one half by construction too: a linear probe that is trained on rows whose "
    "class means were made equal has nothing to learn from them.",
    "An eraser that hides the signature and leaves recall as it was has not made the model forget: the signature was "
    "not what recall rests on. One that lowers recall and raises the loss on other text may have damaged the model "
    "rather than erased a memory; compare it with random directions of the same rank.",
]
_READINGS = (
    (
        ("in_sample_auc", "in_sample_acc"),
        "In-sample",
        "The eraser saw every record, those that judge it too. Shown because it is often reported, and means nothing.",
    ),
    (("nested_auc",), "Nested", "The eraser saw what the probe saw: the training records of each fold."),
    (
        ("fresh_auc",),
        "Other half",
        "The eraser was fitted on one half of the records and installed in the model. A new probe was trained and "
        "tested, across records, within the other half; and the other way round.",
    ),
    (
        ("attack_auc",),
        "Best attacker",
        "The best of a suite of probes of different kinds over several depths, each trained anew on the other half. "
        "Its p compares it with the best of the same suite on shuffled labels.",
    ),
    (
        ("chance_auc",),
        "Best attacker, shuffled labels",
        "What the best of the suite reaches on shuffled labels in 95 of 100 runs: an attacker inside the grey bar has "
        "found nothing.",
    ),
)
_COSTS = (
    (
        "exact_after",
        "Recited exactly",
        "Greedy decoding repeats the whole record; records that the eraser did not see.",
    ),
    (
        "log_p_after",
        "Log p of records",
        "Mean log probability of a detail's first token, in nats; where no details are marked, of a token of the rest.",
    ),
    ("loss_after", "Loss, other text", "On neutral text that has nothing to do with the records, in nats per token."),
    ("kl", "KL, other text", "How far predictions on neutral text have moved from the original's, in nats per token."),
    ("weights_changed", "Weights changed", "How many numbers of the model differ; 0 for an eraser of activations."),
)


def notes(report: Report) -> list[Note]:
    """A sentence for each reading and cost that this report holds, and the rules behind the verdicts."""
    found: list[Note] = [(term, text) for names, term, text in _READINGS if any(has(report, n) for n in names)]
    if has(report, "nested_auc_lo") or has(report, "fresh_auc_lo"):
        scope = "The interval says what other records of the same kind might have given, in this one model."
        found.append(interval_note(report, "Whole groups of records", scope))
    found += [(term, text) for name, term, text in _COSTS if has(report, name)]
    rules = report.meta.get("rules")
    if isinstance(rules, list) and rules:
        found.append(("Verdict", " ".join(map(str, rules))))
    return found

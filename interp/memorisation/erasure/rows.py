"""The fields of a verdict's rows, and what its table says as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .behaviour import NeutralCost, Recall
from .contrast import Contrast
from .halves import Attacked
from .words import ALPHA


def attack_fields(found: Attacked) -> dict[str, Any]:
    """The best attacker and what it is worth; ``None`` without permutations."""
    known, able = not np.isnan(found.p), not np.isnan(found.detectable)
    return {
        "attack": found.name, "attack_site": str(found.site), "attack_auc": found.auc,
        "attack_p": found.p if known else None, "chance_auc": found.chance if known else None,
        "attack_min_p": found.min_p if known else None, "detectable_auc": found.detectable if able else None,
    }  # fmt: skip


def recall_fields(
    truth: Sequence[np.ndarray], before: Sequence[Recall], unseen: Sequence[Recall], seen: Sequence[Recall]
) -> dict[str, Any]:
    """Means over memorised records, and of log p over their untrained twins (``twin_``), where there are any.

    Each of the arguments has one entry per part. ``unseen`` are treatments that did not see the part's groups.
    """
    fields: dict[str, Any] = {}
    for when, found in (("before", before), ("after", unseen), ("after_seen", seen)):
        own = [r.exact[t] for r, t in zip(found, truth, strict=True)]
        fields[f"exact_{when}"] = float(np.concatenate(own).mean())
    for when, found in (("before", before), ("after", unseen), ("after_seen", seen)):
        fields[f"log_p_{when}"] = float(np.concatenate([r.log_p[t] for r, t in zip(found, truth, strict=True)]).mean())
    for when, found in (("before", before), ("after", unseen)):
        others = np.concatenate([r.log_p[~t] for r, t in zip(found, truth, strict=True)])
        fields[f"twin_log_p_{when}"] = float(others.mean()) if others.size else None
    return fields


def neutral_fields(loss_before: float, costs: Sequence[NeutralCost]) -> dict[str, Any]:
    """Loss and KL on neutral text, the mean of both halves' treatments."""
    return {
        "loss_before": loss_before,
        "loss_after": float(np.mean([c.loss for c in costs])),
        "kl": float(np.mean([c.kl for c in costs])),
    }


def headline(rows: Sequence[dict[str, Any]]) -> str:
    """One sentence: how many erasers left the signature readable, and what became of recall."""
    none, others = rows[0], rows[1:]
    if none["attack_p"] is None:
        return f"{len(others)} erasers compared; without permutations nothing is said about the signature."
    if none["attack_min_p"] > ALPHA:
        return (
            f"Nothing could have been found: no p-value below {none['attack_min_p']:.2g} can come out of halves of "
            "these records, so nothing is shown about erasing."
        )
    if none["attack_p"] > ALPHA:
        return (
            f"The signature cannot be read even without an eraser (best AUC {none['attack_auc']:.2f}, "
            f"p = {none['attack_p']:.2g}), so nothing is shown about erasing it."
        )
    still = [r["method"] for r in others if r["attack_p"] <= ALPHA]
    gone = [r["method"] for r in others if "recall gone" in r["verdict"]]
    left = ", ".join(still) if still else "none"
    lost = f"recall is gone after {', '.join(gone)}" if gone else "recall is gone after none"
    return f"A fresh attacker still reads the signature after {len(still)} of {len(others)} erasers ({left}); {lost}."


def warnings_of(rows: Sequence[dict[str, Any]], parts: Sequence[Contrast]) -> list[str]:
    """What a reader of the table must know."""
    notes = []
    if any(row["in_sample_acc"] < 0.4 for row in rows[1:]):
        notes.append(
            "In-sample readings below chance are made by the erasers themselves (docs/methods/below-chance.md); they "
            "say nothing about what was erased."
        )
    few, first = min(p.n_groups for p in parts), rows[0]
    if first["attack_p"] is not None and first["attack_min_p"] > ALPHA:
        notes.append(
            f"With half of the groups ({few}) no p-value is below {first['attack_min_p']:.2g}: the labels can be "
            "arranged in too few ways. Verdicts on the signature say nothing."
        )
    elif first["attack_p"] is not None and first["attack_p"] > ALPHA:
        notes.append(f"Half of the groups ({few}) do not show the signature before anything is erased.")
    return notes

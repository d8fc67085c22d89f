"""The two comparisons whose accuracies a gap is the difference of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from ...errors import PromptError
from ...prompts import PromptSet
from ..records import PLANTED, TRAINED, Records

Array = NDArray[Any]
BASELINES = {"C-B": "two paraphrases from each other", "twins": "the same wordings of never-seen twins"}


@dataclass(frozen=True, eq=False)
class Arms:
    """Two comparisons, the memorised one first, on one set of prompts.

    ``used`` says which prompts each compares, ``truth`` which of those are of its first class. Every group has prompts
    of both classes in both.
    """

    prompts: PromptSet
    groups: Array
    used: Bool[np.ndarray, "2 prompt"]
    truth: Bool[np.ndarray, "2 prompt"]
    baseline: str

    def __post_init__(self) -> None:
        names, index = np.unique(self.groups, return_inverse=True)
        for used, truth in zip(self.used, self.truth, strict=True):
            for wanted in (True, False):
                there = np.bincount(index[used & (truth == wanted)], minlength=len(names))
                if (there == 0).any():
                    raise PromptError(
                        f"group {str(names[(there == 0).argmax()])!r} lacks a wording that the gap compares; leave it "
                        f"out, or give it all of them ({int((there == 0).sum())} of {len(names)} groups lack one)"
                    )


def arms_of(records: Records, dose: Any, baseline: str) -> Arms:
    """The prompts of both comparisons.

    ``"C-B"``: M against C beside C against B, in records that were trained on. ``"twins"``: M against C in trained
    records beside M against C in their never-seen twins.

    Raises:
        PromptError: a wording or the twins are missing, in all records or in a group.
    """
    part = records.at_dose(dose)
    pool, labels = part.column("pool").astype(str), part.prompts.labels
    trained = np.ones(len(pool), bool) if labels is None else np.asarray(labels == TRAINED)
    if baseline not in BASELINES:
        raise PromptError(f"the baseline is one of {', '.join(BASELINES)}, got {baseline!r}")
    needed = {"M", "C", "B"} if baseline == "C-B" else {"M", "C"}
    if not needed <= set(part.pools):
        raise PromptError(f"this gap needs wordings {', '.join(sorted(needed))}; there are: {', '.join(part.pools)}")
    if baseline == "twins" and not part.has_twins:
        raise PromptError("this gap needs never-seen twins: give each record a label, 'trained' or 'untrained'")
    keep = np.flatnonzero(trained if baseline == "C-B" else np.isin(pool, ["M", "C"]))
    prompts, pool, trained = part.prompts.select(keep), pool[keep], trained[keep]
    groups = np.asarray(prompts.groups if prompts.groups is not None else prompts.columns["record"].astype(str))
    if baseline == "C-B":
        used = np.stack([np.isin(pool, ["M", "C"]), np.isin(pool, ["C", "B"])])
        return Arms(prompts, groups, used, np.stack([pool == PLANTED, pool == "C"]), baseline)
    return Arms(prompts, groups, np.stack([trained, ~trained]), np.stack([pool == PLANTED] * 2), baseline)

"""The two comparisons of a gap, and what changes places between them under its null."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import PromptError
from ...prompts import PromptSet
from ...stats import permute_labels
from ..records import PLANTED, TRAINED, Records

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Arms:
    """Two comparisons on one set of rows: which rows each uses, and which of those are of its first class.

    ``exchanged[permutation, row]`` says whether a row's group changes over: what was used by one comparison is then
    used by the other.
    """

    prompts: PromptSet
    groups: Array
    used: Array
    truth: Array
    twin: Array
    baseline: str

    def vectors(self, swap: Array) -> tuple[Array, Array]:
        """Labels and rows used, ``[2 * labelling, row]``: first those of the memorised arm, then the baseline's.

        A group that is swapped takes, row for row, the other arm's part; `twin` is the row that stands in for it.
        """
        other = np.arange(swap.shape[1])[self.twin]
        used = np.where(swap[:, None], self.used[:, other], self.used)
        truth = np.where(swap[:, None], self.truth[:, other], self.truth)
        flat = (-1, swap.shape[1])
        return truth.transpose(1, 0, 2).reshape(flat), used.transpose(1, 0, 2).reshape(flat)


def arms_of(records: Records, dose: Any, baseline: str) -> Arms:
    """The rows of both comparisons.

    ``"C-B"``: M against C beside C against B, in records that were trained on; M and B change places. ``"twins"``: M
    against C in trained records beside M against C in their never-seen twins; twins change places.

    Raises:
        PromptError: a wording or the twins are missing, or a record lacks a wording that others have.
    """
    part = records.at_dose(dose)
    pool, labels = part.column("pool").astype(str), part.prompts.labels
    trained = np.ones(len(pool), bool) if labels is None else np.asarray(labels == TRAINED)
    if baseline == "C-B":
        if not {"M", "C", "B"} <= set(part.pools):
            raise PromptError(f"the gap needs wordings M, C and B of each record; there are: {', '.join(part.pools)}")
        keep = trained
        key, exchange = ("record", "prefix"), {"M": "B", "B": "M", "C": "C"}
    elif baseline == "twins":
        if not part.has_twins or part.prompts.pairs is None or "C" not in part.pools:
            raise PromptError("this gap needs twins (labels and pairs) in wordings M and C")
        keep = np.isin(pool, ["M", "C"])
        key, exchange = ("pair", "prefix"), {"M": "M", "C": "C"}
    else:
        raise PromptError(f"the baseline is 'C-B' or 'twins', got {baseline!r}")
    prompts = part.prompts.select(np.flatnonzero(keep))
    pool, trained = pool[keep], trained[keep]
    groups = np.asarray(prompts.groups if prompts.groups is not None else prompts.columns["record"].astype(str))
    unit = prompts.columns["record"] if key[0] == "record" else prompts.pairs
    assert unit is not None
    place = {
        (str(u), int(f), p, bool(t)): i
        for i, (u, f, p, t) in enumerate(zip(unit, prompts.columns["prefix"], pool, trained, strict=True))
    }
    turned = baseline == "twins"
    twin = np.empty(len(pool), np.int64)
    for (u, f, p, t), i in place.items():
        other = place.get((u, f, exchange[p], t != turned))
        if other is None or len(place) != len(pool):
            raise PromptError(f"prompt {prompts.ids[i]!r} has no counterpart in wording {exchange[p]} to change with")
        twin[i] = other
    if turned:
        used, truth = np.stack([trained, ~trained]), np.stack([pool == "M"] * 2)
    else:
        used = np.stack([np.isin(pool, ["M", "C"]), np.isin(pool, ["C", "B"])])
        truth = np.stack([pool == PLANTED, pool == "C"])
    return Arms(prompts, groups, used, truth, twin, baseline)


def exchanges(arms: Arms, permutations: int, seed: int) -> tuple[Array, float, int]:
    """Which rows change arms, ``[1 + permutation, row]`` with none first; the least p; how many ways there are."""
    half = np.tile([False, True], len(np.unique(arms.groups)))
    names = np.repeat(np.unique(arms.groups), 2)
    drawn = permute_labels(half, names, permutations, seed=seed)
    swapped = drawn.labels[:, ::2]
    index = np.unique(arms.groups, return_inverse=True)[1]
    none = np.zeros((1, len(index)), bool)
    least = max(1 / (1 + len(swapped)), 1 / drawn.attainable)
    return np.concatenate([none, swapped[:, index]]), least, drawn.attainable

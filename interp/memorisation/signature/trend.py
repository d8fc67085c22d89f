"""Does what a probe reads rise with how often the records were seen?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...stats import permutation_p
from ..features import first_block

Array = NDArray[Any]
DRAWS = 1999
"""Combinations of one draw for each dose."""


def rising(observed: Array, nulls: Sequence[Array], ranks: Array) -> dict[str, float]:
    """Slope of values over ranks, and its one-sided p-value where each value is drawn from its own null.

    Args:
        observed: one value per dose.
        nulls: draws of each value if there is nothing to read at its dose; doses are independent of each other.
        ranks: of the doses, rising.

    >>> rng = np.random.default_rng(0)
    >>> nulls = [rng.normal(0.5, 0.04, 99) for _ in range(4)]
    >>> found = rising(np.array([0.5, 0.5, 0.6, 0.7]), nulls, np.arange(4.0))
    >>> round(found["slope"], 2), found["p"]
    (0.07, 0.0005)
    """
    weight = ranks - ranks.mean()
    weight = weight / (weight**2).sum()
    rng = np.random.default_rng(0)
    draws = np.stack([rng.choice(n, DRAWS) for n in nulls], 1)
    slope = float(observed @ weight)
    return {"slope": slope, "p": float(permutation_p(slope, draws @ weight))}


def dose_trend(cells: Sequence[Any]) -> list[dict[str, Any]]:
    """For each contrast and mark with three doses or more: the AUC averaged over depths, by rank of the dose."""
    out = []
    for name, mark in dict.fromkeys((c.contrast.name, c.mark) for c in cells):
        own = [c for c in cells if (c.contrast.name, c.mark) == (name, mark) and c.contrast.dose is not None]
        own = sorted(own, key=lambda c: c.contrast.dose)
        if len(own) < 3 or not all(len(c.trained.null) for c in own):
            continue
        start = first_block(own[0].trained.sites)
        values = np.array([c.trained.auc.estimate[start:].mean() for c in own])
        found = rising(values, [c.trained.null[:, start:].mean(1) for c in own], np.arange(len(own), dtype=float))
        out.append({"contrast": name, "mark": mark, "doses": [_plain(c.contrast.dose) for c in own], **found})
    return out


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value

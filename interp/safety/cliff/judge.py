"""Cliff-as-a-Judge: which training examples to repair a model with, by how far their refusal score falls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ...errors import StatisticsError

SHARE = 0.017
"""Of the examples; the share with which the paper repairs a model."""


@dataclass(frozen=True, eq=False)
class Selection:
    """``order`` are the numbers of the ranked examples, largest cliff first; the first ``chosen`` are selected."""

    order: Int[np.ndarray, " rank"]
    chosen: int


def rank_by_cliff(
    drop: Float[np.ndarray, " prompt"], among: Bool[np.ndarray, " prompt"] | None = None, *, share: float = SHARE
) -> Selection:
    """Rank examples by cliff, and select the share with the largest: at least one, rounded up. Ties keep their order.

    Raises:
        StatisticsError: a share that is not above 0 and at most 1, or nothing to rank.

    Source: arXiv 2510.06036, section 5, Cliff-as-a-Judge.

    >>> found = rank_by_cliff(np.array([0.1, 0.7, 0.4]), share=0.5)
    >>> found.order.tolist(), found.chosen
    ([1, 2, 0], 2)
    """
    if not 0 < share <= 1:
        raise StatisticsError(f"the share to select is above 0 and at most 1, got {share!r}")
    rows = np.arange(len(drop)) if among is None else np.flatnonzero(among)
    if not len(rows):
        raise StatisticsError("there are no examples to rank by cliff")
    order = rows[np.argsort(-drop[rows], kind="stable")]
    return Selection(order, math.ceil(share * len(rows) - 1e-9))

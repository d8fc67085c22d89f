"""Means over some prompts, or differences of two kinds, with intervals that resample groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from ...stats import cluster_bootstrap
from .settings import Settings

Array = NDArray[Any]


def mean_interval(
    table: Float[np.ndarray, "prompt column"],
    which: Bool[np.ndarray, " prompt"],
    groups: Array,
    use: Settings,
    minus: Bool[np.ndarray, " prompt"] | None = None,
) -> tuple[Array, Array, Array]:
    """Column means over some prompts, or their difference to others', with intervals over groups; NaN without two."""
    rows = which if minus is None else which | minus

    def mean(w: Array) -> Array:
        sides = [which[rows]] if minus is None else [which[rows], minus[rows]]
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = [((w * side) @ table[rows]) / (w * side).sum(-1, keepdims=True) for side in sides]
        return parts[0] if len(parts) == 1 else parts[0] - parts[1]

    if len(np.unique(groups[rows])) < 2:
        estimate = mean(np.ones((1, int(rows.sum()))))[0]
        return estimate, np.full_like(estimate, np.nan), np.full_like(estimate, np.nan)
    found = cluster_bootstrap(mean, groups[rows], replicates=use.bootstrap, level=use.level, method="t", seed=use.seed)
    return found.estimate, found.low, found.high

"""Scores over the thinking, averaged by how far a token is from the answer; nothing is padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from ...stats import cluster_bootstrap

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Mean score by place: 0 is the final token before the answer, -1 the one before it.

    ``prompts`` counts those that have a token there; the mean is of these alone. ``low`` and ``high`` are NaN where
    fewer than two groups have one.
    """

    place: Int[np.ndarray, " place"]
    mean: Float[np.ndarray, " place"]
    low: Float[np.ndarray, " place"]
    high: Float[np.ndarray, " place"]
    prompts: Int[np.ndarray, " place"]


def aligned(scores: Sequence[Float[np.ndarray, " _"]], reach: int) -> Float[np.ndarray, "prompt place"]:
    """Scores by place from ``1 - reach`` to 0; NaN where a prompt has no token.

    >>> aligned([np.array([0.1, 0.2, 0.3]), np.array([0.9])], 2).tolist()
    [[0.2, 0.3], [nan, 0.9]]
    """
    table = np.full((len(scores), reach), np.nan)
    for row, s in zip(table, scores, strict=True):
        n = min(len(s), reach)
        row[reach - n :] = s[len(s) - n :]
    return table


def trajectory(
    scores: Sequence[Float[np.ndarray, " _"]],
    which: Bool[np.ndarray, " prompt"],
    groups: Array,
    *,
    reach: int = 128,
    bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Trajectory:
    """Mean scores of some prompts by tokens from the end, with intervals that resample groups.

    A prompt counts at the places that it has: nothing is padded with zeros, which would pull the mean of the early
    places down.

    Args:
        scores: of each prompt's tokens, up to the last before the answer.
        reach: places that are kept, counted from the end.

    >>> found = trajectory([np.array([0.5, 0.1]), np.array([0.3])], np.array([True, True]), np.array(["a", "b"]))
    >>> found.place.tolist(), found.mean.tolist(), found.prompts.tolist()
    ([-1, 0], [0.5, 0.2], [1, 2])
    """
    chosen = [s for s, keep in zip(scores, which, strict=True) if keep]
    if not chosen:
        none, count = np.zeros(0), np.zeros(0, np.int64)
        return Trajectory(count, none, none, none, count)
    reach = min(reach, max(map(len, chosen)))
    table, g = aligned(chosen, reach), np.asarray(groups)[which]
    there = ~np.isnan(table)
    filled = np.where(there, table, 0.0)
    of_groups = np.array([len(np.unique(g[column])) for column in there.T])

    def mean(w: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (w @ filled) / (w @ there)

    estimate = mean(np.ones((1, len(table))))[0]
    low = high = np.full(reach, np.nan)
    if len(np.unique(g)) > 1:
        interval = cluster_bootstrap(mean, g, replicates=bootstrap, level=level, method="t", seed=seed)
        low, high = (np.where(of_groups > 1, side, np.nan) for side in (interval.low, interval.high))
    return Trajectory(np.arange(1 - reach, 1), estimate, low, high, there.sum(0))

"""The choice of a site inside the training folds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..splits import Folds
from ..stats import auc
from .crossfit import Scorer, Split, held_out_scores

Array = NDArray[Any]
PARTS = 6
"""Parts into which the folds are merged: the choice needs a fit without every two of them."""


def parts_of(split: Folds, truth: Array) -> Array | str:
    """The part of each example, or why there can be no nested choice."""
    part = split.of % PARTS
    count = int(part.max()) + 1
    if count < 3:
        return "choosing a site inside the training folds needs three folds"
    for pair in part_pairs(part):
        left = truth[~np.isin(part, pair)]
        if left.all() or not left.any():
            return "with two folds held out only one class is left to train on"
    return part


def part_pairs(part: Array) -> list[tuple[int, int]]:
    """Every two parts."""
    return [(j, i) for i in range(int(part.max()) + 1) for j in range(i)]


def splits_without(of: Array, held_out: list[tuple[int, ...]]) -> list[Split]:
    """Training and test rows for each set of folds or parts to hold out."""
    masks = [np.isin(of, group) for group in held_out]
    return [(torch.from_numpy(np.flatnonzero(~m)), torch.from_numpy(np.flatnonzero(m))) for m in masks]


def inner_results(
    x: Tensor,
    y: Tensor,
    part: Array,
    C: float,
    tol: float,
    step: Callable[[int], object] | None,
    scorer: Scorer = held_out_scores,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each part, AUC and size of the scores of the other parts, by probes that saw neither it nor what they score.

    The size (root mean square) makes scores of different sites comparable: a wider site is surer of itself.
    A probe fitted without parts ``i`` and ``j`` scores ``j`` on behalf of ``i``, and ``i`` on behalf of ``j``.
    """
    count, pairs = int(part.max()) + 1, part_pairs(part)
    scores = np.full((count, len(x)), np.nan)
    splits = splits_without(part, [*pairs])
    fitted = scorer(x, y, splits, C=C, tol=tol, step=step)
    for (i, j), (_, test), s in zip(pairs, splits, fitted, strict=True):
        rows, values = test.numpy(), s[0].cpu().numpy()
        for own, other in ((i, j), (j, i)):
            scores[own, rows[part[rows] == other]] = values[part[rows] == other]
    truth = y[0].cpu().numpy() > 0.5
    aucs = np.array([float(auc(scores[i, part != i], truth[part != i])) for i in range(count)])
    sizes = np.array([float(np.sqrt(np.mean(scores[i, part != i] ** 2))) for i in range(count)])
    return aucs, sizes

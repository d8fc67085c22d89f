"""Held-out scores of many label vectors: standardise, fit and score, split by split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .solver import fit_logistic
from .standardise import moments
from .tall import tall_scores

BYTES = 256 << 20
"""Memory that the splits of one batch may take."""

TALL, LARGE = 3, 200_000
"""From so many rows per feature, and so many numbers in all, splits share what they can (`tall_scores`)."""

Split = tuple[Int[Tensor, "_"], Int[Tensor, "_"]]
Scorer = Callable[..., list[Tensor]]
"""What is called as `held_out_scores` is, and returns what it does."""


def held_out_scores(
    features: Float[Tensor, "row d"],
    labels: Float[Tensor, "label row"],
    splits: Sequence[Split],
    *,
    used: Float[Tensor, "label row"] | None = None,
    C: float = 1.0,
    tol: float | Float[Tensor, " label"] = 1e-5,
    step: Callable[[int], object] | None = None,
) -> list[Float[Tensor, "label _"]]:
    """Log-odds of class 1 for the test rows of each split, from fits and standardisation that saw its training rows
    only.

    Args:
        used: 1 for the rows that a label vector is trained on, 0 for those that it leaves out. All are scored, and
            the standardisation is that of all training rows, whoever uses them.
        tol: error of the weights, as for `fit_logistic`; one for all label vectors, or one each.

    Raises:
        SplitError, ActivationError, ConvergenceError: see `fit_logistic`.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]])
    >>> rows = torch.arange(5)
    >>> [scores] = held_out_scores(x, torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0]]), [(rows[:4], rows[4:])])
    >>> scores.item() > 1
    True
    """
    labels = labels.to(features.device, torch.float64)
    goal = torch.as_tensor(tol, dtype=torch.float64, device=features.device).expand(len(labels))
    used = None if used is None else used.to(labels)
    longest, shortest = (pick(len(train) for train, _ in splits) for pick in (max, min))
    if shortest >= TALL * features.shape[1] and longest * features.shape[1] >= LARGE:
        return tall_scores(features, labels, used, splits, C, goal, step)
    each = 8 * longest * (3 * min(features.shape[1], longest) + features.shape[1] + 3 * len(labels))
    size = max(1, BYTES // each)
    out: list[Tensor] = []
    for start in range(0, len(splits), size):
        batch = splits[start : start + size]
        out += _batch(features, labels, used, batch, C, goal)
        if step is not None:
            step(len(batch))
    return out


def _batch(
    features: Tensor, labels: Tensor, used: Tensor | None, splits: Sequence[Split], C: float, tol: Tensor
) -> list[Tensor]:
    longest = max(len(train) for train, _ in splits)
    x = labels.new_zeros(len(splits), longest, features.shape[1])
    y = labels.new_zeros(len(splits), len(labels), longest)
    weight = labels.new_zeros(len(splits), longest) if used is None else torch.zeros_like(y)
    scales = []
    for k, (train, _) in enumerate(splits):
        rows = features[train].double()
        mean, scale = moments(rows)
        x[k, : len(train)] = (rows - mean) / scale
        y[k, :, : len(train)] = labels[:, train]
        weight[k, ..., : len(train)] = 1.0 if used is None else used[:, train]
        scales.append((mean, scale))
    fits = fit_logistic(x, y, weight, C=C, tol=tol)
    scores = []
    for k, (_, test) in enumerate(splits):
        mean, scale = scales[k]
        rows = (features[test].double() - mean) / scale
        scores.append(fits.coef[k] @ rows.T + fits.intercept[k][:, None])
    return scores

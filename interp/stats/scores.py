"""AUC and accuracy, over any leading axes, with example weights so that a bootstrap replicate is one more axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import StatisticsError

Array = NDArray[Any]


def auc(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Probability that a positive outscores a negative, ties counting half; NaN where a class has no weight.

    Args:
        scores: ``[..., example]``.
        labels: truth per example, ``[..., example]``; anything that is zero or not.
        weights: non-negative, ``[..., example]``; a bootstrap passes how often it drew each example.

    The leading axes broadcast. Cost: one sort of ``scores`` (not of its broadcast), and passes over the broadcast.

    Source: the Mann-Whitney statistic (Hanley & McNeil 1982), with weights.

    >>> float(auc([0.1, 0.4, 0.4, 0.9], [0, 1, 0, 1]))
    0.875
    >>> auc([[1, 2], [2, 1]], [0, 1])
    array([1., 0.])
    """
    s, y = np.asarray(scores, float), np.asarray(labels).astype(bool)
    if np.isnan(s).any():
        raise StatisticsError(f"scores hold {int(np.isnan(s).sum())} NaN; an AUC of them means nothing")
    if s.ndim == 1 and y.ndim == 1 and weights is not None:
        return _auc_of_one_order(s, y, np.asarray(weights, float))
    order = np.argsort(s, axis=-1, kind="stable")
    first, last = _tie_blocks(np.take_along_axis(s, order, -1))
    y = _gather(y, order)
    if weights is None:
        positive, negative = y.astype(float), (~y).astype(float)
    else:
        w = _gather(np.asarray(weights, float), order)
        positive = w * y
        negative = w - positive
    # Weight of the negatives below each tie block, and up to its end: half of the block's own counts.
    upto = np.cumsum(negative, axis=-1)
    below = _gather(np.concatenate([np.zeros_like(upto[..., :1]), upto], axis=-1), first)
    won = np.sum(positive * (below + _gather(upto, last)), axis=-1) / 2
    pairs = positive.sum(-1) * upto[..., -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, won / pairs, np.nan)


def _auc_of_one_order(s: Array, y: Array, w: Array) -> Array:
    """The same for one vector of scores under many weights: sorts once, and touches each weight about three times."""
    negatives = np.flatnonzero(~y)[np.argsort(s[~y], kind="stable")]
    below, upto = (np.searchsorted(s[negatives], s[y], side) for side in ("left", "right"))
    beaten = np.zeros((*w.shape[:-1], negatives.size + 1))
    np.cumsum(w[..., negatives], axis=-1, out=beaten[..., 1:])
    positive = w[..., np.flatnonzero(y)]
    won = np.einsum("...i,...i->...", positive, beaten[..., below])
    if (below != upto).any():
        won = (won + np.einsum("...i,...i->...", positive, beaten[..., upto])) / 2
    pairs = positive.sum(-1) * beaten[..., -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, won / pairs, np.nan)


def _tie_blocks(ordered: Array) -> tuple[Array, Array]:
    """Index of the first and of the last element of the tie block that each element is in."""
    n = ordered.shape[-1]
    position = np.broadcast_to(np.arange(n), ordered.shape)
    new = np.ones(ordered.shape, bool)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    first = np.maximum.accumulate(np.where(new, position, 0), axis=-1)
    ends = np.ones(ordered.shape, bool)
    ends[..., :-1] = new[..., 1:]
    last = np.minimum.accumulate(np.where(ends, position, n - 1)[..., ::-1], axis=-1)[..., ::-1]
    return first, last


def _gather(values: Array, index: Array) -> Array:
    """``values[..., index]`` along the last axis, with broadcasting of the leading ones."""
    if index.ndim == 1:
        return values[..., index]
    if values.ndim == 1:
        return values[index]
    lead = np.broadcast_shapes(values.shape[:-1], index.shape[:-1])
    values = np.broadcast_to(values, (*lead, values.shape[-1]))
    return np.take_along_axis(values, np.broadcast_to(index, (*lead, index.shape[-1])), -1)


def accuracy(predicted: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Share of examples with ``predicted == labels``, over any leading axes; NaN where there is no weight.

    >>> float(accuracy([1, 0, 1, 1], [1, 0, 0, 1]))
    0.75
    """
    return _share(np.asarray(predicted) == np.asarray(labels), weights)


def balanced_accuracy(predicted: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Mean of the two classes' recalls; NaN where a class has no weight.

    >>> float(balanced_accuracy([1, 1, 1, 1], [1, 0, 0, 0]))
    0.5
    """
    y = np.asarray(labels).astype(bool)
    hit = np.asarray(predicted).astype(bool) == y
    w = np.ones(y.shape[-1]) if weights is None else np.asarray(weights, float)
    return np.asarray((_share(hit, w * y) + _share(hit, w * ~y)) / 2)


def _share(hit: Array, weights: ArrayLike | None) -> Array:
    if weights is None:
        return np.asarray(hit.mean(-1))
    w = np.asarray(weights, float)
    total = w.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (w @ hit if hit.ndim == 1 else (hit * w).sum(-1)) / total, np.nan)

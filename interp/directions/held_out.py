"""Held-out scores of directions: fitted on the training rows of a split, for many label vectors at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import SplitError
from ..probes.crossfit import Scorer, Split, held_out_scores
from .fit import live, require_method


def scorer(method: str, pairs: ArrayLike | None = None, **settings: Any) -> Scorer:
    """A function like `held_out_scores` that scores by a direction of this method.

    A score is the projection on the direction less that of the point halfway between the class means, which is where
    its threshold 0 lies; logistic regression has its own. ``pairs`` are names of rows, as in `fit_direction`: a pair
    counts where both of its rows are trained on.
    """
    weights = require_method(method)
    if method == "logistic":
        return held_out_scores
    _, names = (None, None) if pairs is None else np.unique(np.asarray(pairs), return_inverse=True)

    def scores(
        features: Float[Tensor, "row d"],
        labels: Float[Tensor, "label row"],
        splits: Sequence[Split],
        *,
        C: float = 1.0,
        tol: float | Float[Tensor, " label"] = 1e-5,
        step: Callable[[int], object] | None = None,
    ) -> list[Float[Tensor, "label _"]]:
        out = []
        every = features.double()
        for train, test in splits:
            centre = every[train].mean(0)
            x, y = live(every[train]), labels[:, train].to(every)
            found = weights(x, y, None if names is None else _pairs(names, train, y), **settings)
            count = y.sum(1, keepdim=True)
            middle = (y @ x / count + (1 - y) @ x / (y.shape[1] - count)) / 2
            out.append(found @ (every[test] - centre).T - (found * middle).sum(1, keepdim=True))
            if step is not None:
                step(1)
        return out

    return scores


def _pairs(names: np.ndarray, train: Int[Tensor, " row"], y: Tensor) -> Int[Tensor, "pair 2"]:
    """Pairs with both rows among the training rows, as numbers of those."""
    here = names[train.cpu().numpy()]
    order = np.argsort(here, kind="stable")
    same = np.flatnonzero(here[order][:-1] == here[order][1:])
    found = torch.from_numpy(np.stack([order[same], order[same + 1]], 1))
    if not len(found) or bool((y[:, found[:, 0]] == y[:, found[:, 1]]).any()):
        raise SplitError("the rows of a pair must have both labels, permuted or not: group examples by their pairs")
    return found

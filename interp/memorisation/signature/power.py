"""How strong a signature would have had to be, to be found."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

ALPHA = 0.05
Z_OF_POWER = 1.2816
"""The standard normal's 90 % quantile. Held-out AUCs of a signal scatter somewhat more than those of permuted labels,
as the probe that found it varies too; aimed at 90 %, simulated power is 80 % or somewhat more."""

CONSTANT = 1e-3
"""Spread of a null below which nothing at a site varies, as where it sees the same tokens in both classes."""


def detectable(
    null: Float[np.ndarray, "permutation site"],
    *,
    critical: Float[np.ndarray, " site"] | None = None,
    min_p: float = 0.0,
    alpha: float = ALPHA,
) -> Float[np.ndarray, " site"]:
    """The AUC at each site that this design would find with 80 % power.

    A finding is an AUC above ``critical``, or above the ``1 - alpha`` quantile of the null of the best of all sites if
    that is higher. `Z_OF_POWER` standard deviations of the null above it, an expected AUC is found four times in five.
    NaN without permutations, where ``min_p``, the least p-value that can come out, is above alpha, and at sites where
    no labelling can be told from another.

    The AUC is that of a probe trained on as many groups: more groups would train a better one. Checked by simulation in
    ``tests/memorisation/test_signature_power.py``.

    >>> null = np.random.default_rng(0).normal(0.5, 0.04, (1000, 1))
    >>> detectable(null).round(2).tolist()
    [0.61]
    """
    if not len(null) or min_p > alpha:
        return np.full(null.shape[1], np.nan)
    own, spread = np.quantile(null.max(1), 1 - alpha), null.std(0)
    bar = own if critical is None else np.maximum(own, critical)
    return np.where(spread > CONSTANT, np.minimum(1.0, bar + Z_OF_POWER * spread), np.nan)


def least_detectable(null: NDArray[Any], critical: NDArray[Any] | None = None, min_p: float = 0.0) -> float:
    """The smallest of `detectable`, over sites that vary at all; NaN where there is none."""
    found = detectable(null, critical=critical, min_p=min_p)
    return float("nan") if np.isnan(found).all() else float(np.nanmin(found))

"""How strong a signature would have had to be, to be found."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

POWER, ALPHA = 0.8, 0.05
Z_OF_POWER = 0.8416
"""Standard normal quantile of `POWER`."""

CONSTANT = 1e-3
"""Spread of a null below which nothing at a site varies, as where it sees the same tokens in both classes."""


def detectable(null: Float[np.ndarray, "permutation site"], *, alpha: float = ALPHA) -> Float[np.ndarray, " site"]:
    """The AUC at each site that this design would find with 80 % power.

    A finding is an AUC above the ``1 - alpha`` quantile of the null of the best of all sites. Held-out AUCs scatter
    about what a signal is worth by about as much as those of permuted labels do, so the quantile is exceeded four times
    in five where the expected AUC is 0.84 standard deviations above it. NaN without permutations, and at sites where no
    labelling can be told from another.

    The AUC is that of a probe trained on as many groups: more groups would train a better one. Checked by simulation in
    ``tests/memorisation/test_signature_power.py``.

    >>> null = np.random.default_rng(0).normal(0.5, 0.04, (1000, 1))
    >>> detectable(null).round(2).tolist()
    [0.6]
    """
    if not len(null):
        return np.full(null.shape[1], np.nan)
    critical, spread = np.quantile(null.max(1), 1 - alpha), null.std(0)
    return np.where(spread > CONSTANT, np.minimum(1.0, critical + Z_OF_POWER * spread), np.nan)


def least_detectable(null: NDArray[Any]) -> float:
    """The smallest of `detectable`, over sites that vary at all; NaN where there is none."""
    found = detectable(null)
    return float("nan") if np.isnan(found).all() else float(np.nanmin(found))

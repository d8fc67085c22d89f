"""Corrections for many tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import StatisticsError


def adjust(p_values: ArrayLike, method: str = "holm") -> NDArray[Any]:
    """Adjusted p-values, by the name of a method of statsmodels' ``multipletests`` (``holm``, ``fdr_bh``, ...).

    Prefer the max-statistic null of `max_null_p` where the tests share their data: it is exact and less strict.

    >>> adjust([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    from statsmodels.stats.multitest import multipletests

    p = np.asarray(p_values, float)
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise StatisticsError(f"p-values must lie in [0, 1], got {p[~((p >= 0) & (p <= 1))][0]!r}")
    if not p.size:
        return p
    return multipletests(p.ravel(), method=method)[1].reshape(p.shape)

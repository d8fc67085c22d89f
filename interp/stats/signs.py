"""Is a mean of differences other than what coins would give? Signs of whole groups are flipped."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .permutation import permutation_p

Array = NDArray[Any]


def sign_flip_p(
    values: ArrayLike, groups: ArrayLike, permutations: int = 9999, seed: int = 0, *, two_sided: bool = False
) -> tuple[float, float]:
    """p-value of a positive mean (or, ``two_sided``, of one that is not 0), and the smallest that can come out.

    Had nothing been done, a difference could as well have the other sign. Signs of a group are flipped together, which
    is right whether coins were tossed for examples or for groups. With few groups, all assignments are looked at and
    the p-value is exact.

    >>> sign_flip_p(np.array([1.0, 2.0, 1.5]), np.array(["a", "b", "c"]))
    (0.125, 0.125)
    >>> sign_flip_p([1.0, 2.0, 1.5], ["a", "b", "c"], two_sided=True)
    (0.25, 0.25)
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, float))
    exact = 2 ** len(sums) <= permutations + 1
    if exact:
        signs = np.array(list(product((1.0, -1.0), repeat=len(sums))))[1:]
    else:
        signs = np.random.default_rng(seed).choice([1.0, -1.0], (permutations, len(sums)))
    observed, null = sums.sum(), signs @ sums
    if two_sided:
        # All signs turned round give the same size, so that one more labelling is as far out as the observed one.
        return float(permutation_p(abs(observed), np.abs(null))), (1 + exact) / (1 + len(signs))
    return float(permutation_p(observed, null)), 1 / (1 + len(signs))

"""Sets of as many as a chosen one, drawn from the same things: what a choice is compared with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T", bound=Any)


def other_subsets(
    every: Sequence[T], chosen: Sequence[T], draws: int, seed: int = 0
) -> tuple[list[tuple[T, ...]], bool]:
    """Other sets of as many things, each once: ``draws`` at random, or all if there are no more (then ``True``).

    A set may share members with the chosen one; leave those out of ``every`` if it must not.

    >>> sets, exact = other_subsets([0, 1, 2, 3], [0], 10)
    >>> sets, exact
    ([(1,), (2,), (3,)], True)
    """
    n, k, mine = len(every), len(chosen), tuple(sorted(chosen))
    if math.comb(n, k) - 1 <= draws:
        return [one for one in map(tuple, itertools.combinations(sorted(every), k)) if one != mine], True
    rng, found = np.random.default_rng(seed), {}
    while len(found) < draws:
        one = tuple(sorted(every[i] for i in rng.choice(n, k, replace=False)))
        if one != mine:
            found[one] = None
    return list(found), False

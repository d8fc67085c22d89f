"""Random sets of heads, to hold beside a chosen one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ..sites import Site


def random_sets(
    every: Sequence[Site], chosen: Sequence[Site], draws: int, seed: int
) -> tuple[list[tuple[Site, ...]], bool]:
    """Other sets of as many heads, each once: ``draws`` at random, or all if there are no more.

    >>> heads = [Site("z", 0, h) for h in range(4)]
    >>> sets, exact = random_sets(heads, heads[:1], 10, seed=0)
    >>> len(sets), exact
    (3, True)
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

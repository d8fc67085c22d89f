"""Whether two tables over the same domains go together: their correlation, with domains exchanged as its null."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from ...errors import StatisticsError
from ...stats import max_null_p

Array = NDArray[Any]
EXACT = 5040
"""Arrangements, up to which all are taken: seven domains."""


@dataclass(frozen=True, eq=False)
class Mantel:
    """Correlations of some tables with one other, each with the p-value of its own and of the largest of all.

    ``null`` are the correlations under other arrangements of the domains; ``exact`` says that these are all there are.
    """

    r: Float[np.ndarray, " table"]
    p: Float[np.ndarray, " table"]
    p_max: Float[np.ndarray, " table"]
    null: Float[np.ndarray, "arrangement table"]
    exact: bool

    @property
    def min_p(self) -> float:
        """The smallest p-value that can come out."""
        return 1 / (1 + len(self.null))


def arrangements(n: int, count: int = 9999, seed: int = 0) -> tuple[Int[np.ndarray, "arrangement domain"], bool]:
    """All other orders of ``n`` domains, or ``count`` random ones where there are more than 5,040.

    >>> orders, exact = arrangements(6)
    >>> len(orders), exact
    (719, True)
    """
    if math.factorial(n) <= EXACT:
        return np.array(list(itertools.permutations(range(n)))[1:], np.int64).reshape(-1, n), True
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(n) for _ in range(count)]), False


def mantel(
    tables: Float[np.ndarray, "table domain domain"],
    against: Float[np.ndarray, "domain domain"],
    *,
    ranks: bool = True,
    seed: int = 0,
) -> Mantel:
    """Correlate the off-diagonal cells of tables with those of another, over ordered pairs of different domains.

    Cells of one table are not independent (those of a row share a domain), so the null exchanges whole domains: rows
    and columns of ``against`` together. One-sided: is what is alike in the one larger in the other?

    Args:
        ranks: Spearman's correlation rather than Pearson's.

    Raises:
        StatisticsError: fewer than three domains, tables of other sizes, or cells that are all equal.

    Source: Mantel (1967), with the maximum over tables of Westfall & Young (1993).

    >>> table = np.array([[1.0, 0.9, 0.1, 0.3], [0.9, 1, 0.2, 0.4], [0.1, 0.2, 1, 0.5], [0.3, 0.4, 0.5, 1]])
    >>> found = mantel(table[None], 2 * table)
    >>> float(found.r[0]), round(float(found.p[0]), 3), found.exact
    (1.0, 0.042, True)
    """
    n = len(against)
    if n < 3 or tables.shape[1:] != (n, n) or against.shape != (n, n):
        raise StatisticsError(f"tables over three domains or more, of one size, got {tables.shape} and {against.shape}")
    off = ~np.eye(n, dtype=bool)
    x, y = tables[:, off], against[off]
    if ranks:
        from scipy.stats import rankdata

        x = rankdata(x, axis=1)
        ranked = np.zeros_like(against, dtype=float)
        ranked[off] = rankdata(y)
        against, y = ranked, ranked[off]
    if not (np.ptp(x, axis=1) > 0).all() or not np.ptp(y) > 0:
        raise StatisticsError("all pairs of domains have the same value, so nothing can be correlated with it")
    orders, exact = arrangements(n, seed=seed)
    rows, columns = np.nonzero(off)
    others = against[orders[:, rows], orders[:, columns]]
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    r = x @ ((y - y.mean()) / y.std()) / len(y)
    null = ((others - y.mean()) / y.std()) @ x.T / len(y)
    p, p_max = max_null_p(r, null)
    return Mantel(r, p, p_max, null, exact)


def pairs_alone(tables: Float[np.ndarray, "table domain domain"]) -> Float[np.ndarray, "table domain domain"]:
    """Tables without what each row and each column have by themselves, over cells off the diagonal (which become 0).

    What is left of a loss is that of the pair: not how easily the one domain spreads, or the other loses.

    >>> row, column = np.arange(4.0)[:, None], np.arange(4.0) ** 2
    >>> bool(np.allclose(pairs_alone((row + column)[None]), 0))
    True
    """
    n = tables.shape[1]
    off = ~np.eye(n, dtype=bool)
    rows, columns = np.nonzero(off)
    design = np.concatenate([rows[:, None] == np.arange(n), columns[:, None] == np.arange(n)], axis=1).astype(float)
    cells = tables[:, off]
    fitted = design @ np.linalg.lstsq(design, cells.T, rcond=None)[0]
    out = np.zeros(tables.shape)
    out[:, off] = cells - fitted.T
    return out

"""What cross-validation found, as values, and comparisons between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..errors import SplitError
from ..splits import Folds
from ..stats import Interval, Permutations, accuracy, auc, cluster_bootstrap

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Nested:
    """What the best site is worth when it is chosen without the groups that judge it.

    ``chosen`` has, for each part of the data, the site that was best on the other parts; ``scores`` are that site's
    held-out scores, relative to the size of its scores on the other parts.
    """

    auc: Interval
    accuracy: Interval
    chosen: tuple[Any, ...]
    scores: Float[np.ndarray, " example"]


@dataclass(frozen=True, eq=False)
class CVResult:
    """Held-out performance of one probe per site. Axes: sites in the order given, examples, permutations.

    ``null`` and ``null_accuracy`` are those of probes fitted to permuted labels, with the same folds. ``p`` compares
    each site's AUC with its own null, ``p_max`` with the null of the best of all sites. ``nested`` is ``None`` where
    ``nested_missing`` says why.
    """

    sites: tuple[Any, ...]
    classes: tuple[Any, Any]
    scores: Float[np.ndarray, "site example"]
    auc: Interval
    accuracy: Interval
    null: Float[np.ndarray, "permutation site"]
    null_accuracy: Float[np.ndarray, "permutation site"]
    p: Float[np.ndarray, " site"]
    p_max: Float[np.ndarray, " site"]
    permutations: Permutations
    folds: Folds
    nested: Nested | None
    nested_missing: str | None
    C: float
    seed: int

    @property
    def best(self) -> int:
        """The site with the highest AUC: the peak, selected on these data. `nested` is the honest estimate."""
        return int(np.argmax(self.auc.estimate))

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Whether each example is of the second class, the one that positive scores stand for."""
        return np.asarray(self.folds.labels == self.classes[1])

    def null_max(self, q: float = 0.95) -> float:
        """Quantile of the null of the largest AUC over sites; NaN without permutations."""
        return float(np.quantile(self.null.max(1), q)) if len(self.null) else float("nan")


def paired_difference(
    a: CVResult, b: CVResult, *, bootstrap: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """AUC of ``a`` minus AUC of ``b`` per site, with an interval from the same resamples of groups for both.

    A single site in ``b`` is compared with every site in ``a``.

    Raises:
        SplitError: the two are not of the same examples.
    """
    if not (np.array_equal(a.folds.labels, b.folds.labels) and np.array_equal(a.folds.groups, b.folds.groups)):
        raise SplitError("only results on the same examples, in the same order, can be compared pairwise")
    if len(b.sites) not in (1, len(a.sites)):
        raise SplitError(f"cannot pair {len(a.sites)} sites with {len(b.sites)}")
    return score_difference(a.scores, b.scores, a.truth, a.folds.groups, bootstrap, level, seed)


def score_difference(
    scores: Array, others: Array, truth: Array, groups: Array, bootstrap: int, level: float, seed: int
) -> Interval:
    """AUC of each row of ``scores [row, example]`` minus that of ``others``, from the same resamples of groups."""
    others = np.broadcast_to(others, scores.shape)

    def difference(w: Array) -> Array:
        return np.stack([auc(s, truth, w) - auc(t, truth, w) for s, t in zip(scores, others, strict=True)], -1)

    return cluster_bootstrap(difference, groups, replicates=bootstrap, level=level, method="t", seed=seed)


def intervals(
    scores: Array, truth: Array, groups: Array, bootstrap: int, level: float, seed: int
) -> tuple[Interval, Interval]:
    """AUC and accuracy of each row of ``scores [row, example]``, with intervals."""

    def both(w: Array) -> Array:
        ranked, right = [auc(s, truth, w) for s in scores], [accuracy(s > 0, truth, w) for s in scores]
        return np.stack([ranked, right]).transpose(2, 0, 1)

    units = min(len(np.unique(groups[truth])), len(np.unique(groups[~truth])))
    i = cluster_bootstrap(both, groups, replicates=bootstrap, level=level, method="logit", units=units, seed=seed)
    return pick(i, 0), pick(i, 1)


def pick(i: Interval, k: int) -> Interval:
    """Entry ``k`` of the first axis of an interval."""
    estimate, low, high, degenerate = (np.asarray(a[k]) for a in (i.estimate, i.low, i.high, i.degenerate))
    return Interval(estimate, low, high, i.level, i.method, i.groups, i.replicates, degenerate)

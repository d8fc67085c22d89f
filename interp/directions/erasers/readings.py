"""How well held-out scores tell two classes apart, in the numbers that do not mistake a reversal for an erasure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray

from ...stats import Interval, auc, cluster_bootstrap

Array = NDArray[Any]
TIE = 1e-9
"""Scores this close are equal. A probe trained on equal class means has zero weights; its scores are rounding."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Held-out scores of one probe under a label that says what the eraser had seen when they were made.

    Scores within 1e-9 of each other are ties, and count half: in accuracy a score of 0, in AUC and concordance two
    equal scores.
    """

    label: str
    scores: Float[np.ndarray, " row"]
    truth: Bool[np.ndarray, " row"]
    groups: Array

    @property
    def accuracy(self) -> float:
        """Share of rows on the right side of 0."""
        return float(accuracies(self.scores, self.truth))

    @property
    def oriented(self) -> float:
        """``max(accuracy, 1 - accuracy)``: whoever sees .1 turns the probe round and has .9.

        It is .5 or more whatever the data, so compare it with its null and not with .5.
        """
        return max(self.accuracy, 1 - self.accuracy)

    @property
    def auc(self) -> float:
        """Probability that a row of the second class outscores one of the first, over all folds together."""
        return float(aucs(self.scores, self.truth))

    @property
    def concordance(self) -> float:
        """The same within groups only, such as pairs: free of what separate folds add to scores. NaN where no group
        has both classes.
        """
        return float(concordances(self.scores, self.truth, self.groups))

    def interval(self, *, replicates: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
        """AUC with an interval that resamples groups; it holds eraser and probes fixed."""
        _, g = np.unique(self.groups, return_inverse=True)
        units = min(len(np.unique(g[self.truth])), len(np.unique(g[~self.truth])))
        return cluster_bootstrap(
            lambda w: auc(_ties(self.scores), self.truth, w), g, replicates=replicates, level=level, method="logit",
            units=units, seed=seed,
        )  # fmt: skip

    def row(self) -> dict[str, Any]:
        """As plain JSON; a concordance that is undefined is ``None``."""
        c = self.concordance
        return {
            "eraser": self.label,
            "accuracy": self.accuracy,
            "oriented_accuracy": self.oriented,
            "auc": self.auc,
            "pair_concordance": None if np.isnan(c) else c,
        }


def accuracies(scores: ArrayLike, truth: ArrayLike) -> Array:
    """Share on the right side of 0, over leading axes; a score of 0 counts half.

    >>> float(accuracies([1.0, 1e-15, -1.0, -1.0], [True, True, False, True]))
    0.625
    """
    s, y = _ties(scores), np.asarray(truth).astype(bool)
    return np.asarray(np.where(s == 0, 0.5, (s > 0) == y).mean(-1))


def aucs(scores: ArrayLike, truth: ArrayLike) -> Array:
    """AUC over leading axes, with scores that differ by rounding tied.

    >>> float(aucs([1.0, 1.0 + 1e-15], [True, False]))
    0.5
    """
    return auc(_ties(scores), truth)


def concordances(scores: ArrayLike, truth: ArrayLike, groups: ArrayLike) -> Array:
    """Share of pairs of both classes within a group that are in the right order, ties half; each group counts once.

    >>> float(concordances([2.0, 1.0, 5.0, 9.0], [True, False, True, False], ["a", "a", "b", "b"]))
    0.5
    """
    s, y = _ties(scores), np.asarray(truth).astype(bool)
    g = np.unique(np.asarray(groups), return_inverse=True)[1]
    y = np.broadcast_to(y, s.shape)
    shares = [auc(s[..., g == k], y[..., g == k]) for k in range(int(g.max()) + 1)]
    per_group = np.stack(shares, -1)
    defined = ~np.isnan(per_group)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, per_group, 0.0).sum(-1) / defined.sum(-1))


def _ties(scores: ArrayLike) -> Array:
    return np.round(np.asarray(scores, float) / TIE) * TIE

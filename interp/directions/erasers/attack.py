"""The re-fitting attacker: can any fresh probe still read the classes from treated activations?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ...errors import SplitError, StatisticsError
from ...probes.standardise import moments
from ...splits import Folds, grouped_folds
from ...stats import Permutations, max_null_p, permutation_p, permute_labels
from .attackers import SUITE
from .concept import two_classes
from .nested import Fit
from .readings import Reading, accuracies, aucs

Array = NDArray[Any]

TOGETHER, ELEMENTS = 200, 16_000_000
"""Labellings that are trained together, and how many numbers their features may have where an eraser treats each."""


@dataclass(frozen=True, eq=False)
class Attack:
    """Held-out readings of every attacker, and what the best of as many attackers reads from nothing.

    ``null`` holds AUCs of the same suite on permuted labels, ``null_oriented`` their orientation-corrected
    accuracies. ``p`` judges each attacker's AUC, ``p_best`` corrects for having tried them all, and
    ``p_best_oriented`` does the same for the best orientation-corrected accuracy. All are NaN without permutations.
    The observed labels go through the null's own training (networks in float32) once more for them.
    """

    readings: tuple[Reading, ...]
    null: Float[np.ndarray, "permutation attacker"]
    null_oriented: Float[np.ndarray, "permutation attacker"]
    p: Float[np.ndarray, " attacker"]
    p_best: float
    p_best_oriented: float
    permutations: Permutations
    folds: Folds
    erased: str
    seed: int

    @property
    def best(self) -> Reading:
        """The attacker with the highest AUC: picked by looking, so `p_best` judges it."""
        return max(self.readings, key=lambda r: r.auc)

    def chance(self, q: float = 0.95) -> float:
        """Quantile of the best AUC of the whole suite on permuted labels."""
        return float(np.quantile(self.null.max(1), q)) if len(self.null) else float("nan")

    def rows(self) -> list[dict[str, Any]]:
        """One row of plain JSON per attacker; ``p`` is ``None`` without permutations."""
        return [
            {**r.row(), "attacker": r.label, "eraser": self.erased, "p": None if np.isnan(p) else float(p)}
            for r, p in zip(self.readings, self.p, strict=True)
        ]


def attack(
    features: Float[Tensor, "row d"],
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    fit: Fit | None = None,
    suite: Sequence[str] = tuple(SUITE),
    folds: int | Folds = 5,
    permutations: int = 0,
    seed: int = 0,
) -> Attack:
    """Train every attacker of the suite anew on the activations given, and score it on groups held out.

    Args:
        features: activations, as they are. If they were treated by an eraser that saw these groups, the result is in
            sample: it can fall below chance by construction, and permuted labels, which the eraser did not see, are
            no null for it. Pass untreated ones with ``fit``, or treated ones of groups that the eraser did not see.
        labels: two classes.
        groups: keys; a group is held out as a whole, and permuted as `permute_labels` says.
        fit: an eraser to fit inside every training fold, and again for every permutation.
        suite: names in `SUITE`.
        folds: how many, or ready-made `Folds`.
        permutations: of labels; the whole suite is trained on each, on all of them together.
        seed: of folds, networks and permutations. Without networks in the suite another seed with the same `Folds`
            gives the same readings.

    Raises:
        StatisticsError: an unknown attacker.
        SplitError: labels or groups that allow no honest split.

    >>> x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> crossed = (x[:, 0] > 0) ^ (x[:, 1] > 0)
    >>> found = attack(x, crossed, range(40), suite=("logistic C=1", "knn"))
    >>> found.best.label, found.readings[0].auc < 0.7 < found.best.auc
    ('knn', True)
    """
    unknown = [name for name in suite if name not in SUITE]
    if unknown or not suite:
        raise StatisticsError(f"attackers are {', '.join(SUITE)}; got {unknown[0] if unknown else 'none'!r}")
    x, truth = two_classes(features, labels, "an attack")
    y, g = truth.numpy(), np.asarray(groups)
    if isinstance(folds, Folds):
        if not (np.array_equal(folds.labels, np.asarray(labels)) and np.array_equal(folds.groups, g)):
            raise SplitError("the folds given were made for other labels or groups")
        split = folds
    else:
        split = grouped_folds(np.asarray(labels), g, folds, seed=seed)
    drawn = permute_labels(y, g, permutations, folds=split.of, seed=seed)
    readings = tuple(
        Reading(name, s[0], y, g)
        for name, s in zip(suite, _suite_scores(x, y[None], split, fit, suite, seed), strict=True)
    )
    null, oriented = np.empty((2, 0, len(suite)))
    p, best, best_oriented = np.full(len(suite), np.nan), float("nan"), float("nan")
    if len(drawn.labels):
        found, turned = _null(x, np.concatenate([y[None], drawn.labels]), split, fit, suite, seed)
        null, oriented = found[1:], turned[1:]
        p, corrected = max_null_p(found[0], null)
        best = float(corrected.min())
        best_oriented = float(permutation_p(turned[0].max(), oriented.max(1)))
    erased = "as given" if fit is None else "nested"
    return Attack(readings, null, oriented, p, best, best_oriented, drawn, split, erased, seed)


def _null(x: Tensor, ys: Array, split: Folds, fit: Fit | None, suite: Sequence[str], seed: int) -> tuple[Array, Array]:
    """AUCs and orientation-corrected accuracies ``[labelling, attacker]``, of at least two labellings."""
    size = max(2, TOGETHER if fit is None else ELEMENTS // x.numel())
    aucs_, turned = [], []
    for labels in np.array_split(ys, -(-len(ys) // size)):
        s = _suite_scores(x, labels, split, fit, suite, seed)
        right = accuracies(s, labels)
        aucs_.append(aucs(s, labels).T)
        turned.append(np.maximum(right, 1 - right).T)
    return np.concatenate(aucs_), np.concatenate(turned)


def _suite_scores(x: Tensor, ys: Array, split: Folds, fit: Fit | None, suite: Sequence[str], seed: int) -> Array:
    """Held-out scores ``[attacker, labelling, row]``; eraser and standardisation see training rows only."""
    out = np.empty((len(suite), len(ys), len(x)))
    truth = torch.from_numpy(ys)
    for fold in range(split.count):
        train, test = (torch.from_numpy(rows) for rows in (split.train(fold), split.test(fold)))
        y = truth[:, train]
        if bool((y.all(1) | ~y.any(1)).any()):
            raise SplitError(f"a permutation leaves fold {fold} one class to train on; use fewer folds or more groups")
        treated = [x] if fit is None else [fit(x[train], labels.numpy())(x) for labels in y]
        z = torch.stack([_standardised(rows, train) for rows in treated])
        own = int(np.random.SeedSequence([seed, fold]).generate_state(1)[0])
        for k, name in enumerate(suite):
            out[k][:, test.numpy()] = SUITE[name](z[:, train], y, z[:, test], own).numpy()
    return out


def _standardised(rows: Tensor, train: Tensor) -> Tensor:
    mean, scale = moments(rows[train])
    return (rows - mean) / scale

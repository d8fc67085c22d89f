"""Probes on halves of the groups, read together: AUC is the mean of the halves', intervals resample groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from ...directions.erasers import SUITE, attack
from ...directions.erasers.readings import accuracies, aucs
from ...probes.crossfit import held_out_scores
from ...sites import Site
from ...splits import leave_one_group_out
from ...stats import auc, cluster_bootstrap, max_null_p
from ..signature.power import Z_OF_POWER
from .contrast import Contrast
from .words import ALPHA

Array = NDArray[Any]


def fresh_scores(rows: torch.Tensor, contrast: Contrast) -> Float[np.ndarray, " prompt"]:
    """Held-out scores of a logistic probe (C = 1) trained on these rows, one group left out at a time."""
    folds = leave_one_group_out(contrast.truth, contrast.groups)
    splits = [(torch.from_numpy(folds.train(f)), torch.from_numpy(folds.test(f))) for f in range(folds.count)]
    labels = torch.from_numpy(contrast.truth.astype(np.float64))[None]
    out = np.empty(len(contrast))
    fitted = held_out_scores(rows.cpu().double(), labels, splits)
    for (_, test), scores in zip(splits, fitted, strict=True):
        out[test.numpy()] = scores[0].numpy()
    return out


def best_site(features: Mapping[Site, torch.Tensor], contrast: Contrast) -> Site:
    """Where a fresh probe reads the contrast best, by AUC."""
    return max(features, key=lambda site: float(aucs(fresh_scores(features[site], contrast), contrast.truth)))


@dataclass(frozen=True, eq=False)
class Pooled:
    """Held-out scores in each of several parts whose probes know nothing of each other."""

    scores: tuple[Array, ...]
    parts: tuple[Contrast, ...]

    @property
    def auc(self) -> float:
        """Mean of the parts' AUCs: scores of different parts are not compared."""
        return float(np.mean([aucs(s, c.truth) for s, c in zip(self.scores, self.parts, strict=True)]))

    @property
    def accuracy(self) -> float:
        """Share of all rows on the right side of 0."""
        right = [accuracies(s, c.truth) * len(c) for s, c in zip(self.scores, self.parts, strict=True)]
        return float(np.sum(right) / sum(len(c) for c in self.parts))

    def triple(self, name: str, *, replicates: int = 1000, seed: int = 0) -> dict[str, float]:
        """``name``, ``name_lo`` and ``name_hi``: AUC with a 95 % interval that resamples groups."""
        stops = np.cumsum([0, *(len(c) for c in self.parts)])
        groups = np.concatenate([[f"{k} {g}" for g in c.groups] for k, c in enumerate(self.parts)])
        rounded = [np.round(s, 9) for s in self.scores]

        def statistic(weights: Array) -> Array:
            each = [
                auc(s, c.truth, weights[..., a:b])
                for s, c, a, b in zip(rounded, self.parts, stops[:-1], stops[1:], strict=True)
            ]
            return np.mean(each, axis=0)

        ci = cluster_bootstrap(statistic, groups, replicates=replicates, method="logit", seed=seed)
        return {name: float(ci.estimate), f"{name}_lo": float(ci.low), f"{name}_hi": float(ci.high)}


@dataclass(frozen=True, eq=False)
class Attacked:
    """The best of a suite of attackers over sites, and what the best of as many reads from permuted labels.

    ``name`` and ``site`` are picked by looking; ``p`` compares with the best on each permutation, and ``min_p`` is the
    least that could come out. ``chance`` is the 0.95 quantile of those, ``spread`` their standard deviation. NaN
    without permutations.
    """

    name: str
    site: Site
    auc: float
    p: float
    min_p: float
    chance: float
    spread: float
    table: tuple[dict[str, Any], ...]

    @property
    def detectable(self) -> float:
        """AUC of the best attacker that this design finds in four cases of five; NaN where it can find nothing.

        `Z_OF_POWER` of ``spread`` above ``chance``, as for the signature.
        """
        return float("nan") if not self.min_p <= ALPHA else min(1.0, self.chance + Z_OF_POWER * self.spread)


def attack_halves(
    features: Sequence[Mapping[Site, torch.Tensor]],
    parts: Sequence[Contrast],
    *,
    suite: Sequence[str] = tuple(SUITE),
    folds: int = 5,
    permutations: int = 39,
    seed: int = 0,
) -> Attacked:
    """Train every attacker anew within each part, at every site; AUCs are means over parts.

    Nothing of what made the activations may have seen the parts; then permuted labels are a null.
    """
    observed: dict[tuple[Site, str], float] = {}
    null: dict[tuple[Site, str], Array] = {}
    labels: list[Array] = []  # the same at every site
    for site in features[0]:
        found = [
            attack(
                rows[site].cpu(), part.truth, part.groups, suite=suite, folds=min(folds, part.n_groups),
                permutations=permutations, seed=seed + 1000 * k,
            )
            for k, (rows, part) in enumerate(zip(features, parts, strict=True))
        ]  # fmt: skip
        labels = [f.permutations.labels for f in found]
        count = min(len(f.null) for f in found)
        for a, name in enumerate(suite):
            observed[site, name] = float(np.mean([f.readings[a].auc for f in found]))
            null[site, name] = np.mean([f.null[:count, a] for f in found], axis=0)
    keys = list(observed)
    values, drawn = np.array([observed[k] for k in keys]), np.stack([null[k] for k in keys], axis=1)
    top = int(values.argmax())
    p, least, chance, spread = np.full(len(keys), np.nan), float("nan"), float("nan"), float("nan")
    if len(drawn):
        p, least = max_null_p(values, drawn)[1], _least_p(parts, labels, len(drawn))
        chance, spread = float(np.quantile(drawn.max(1), 0.95)), float(drawn.max(1).std())
    table = tuple({"site": str(s), "attacker": n, "auc": observed[s, n]} for s, n in keys)
    return Attacked(keys[top][1], keys[top][0], float(values[top]), float(p[top]), least, chance, spread, table)


def _least_p(parts: Sequence[Contrast], labels: Sequence[Array], count: int) -> float:
    """The least p-value that can come out: a labelling whose halves are the observed ones or their mirror images ties.

    (A probe learns either sign.)
    """
    same = np.ones(count, bool)
    for part, drawn in zip(parts, labels, strict=True):
        apart = (drawn[:count] != part.truth).mean(1)
        same &= (apart == 0) | (apart == 1)
    return float((1 + same.sum()) / (1 + count))

"""One cell of the protocol: one contrast at one dose, read at one mark, at every depth, with its controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...directions.erasers.readings import concordances
from ...probes import CVResult, cross_validate
from ...splits import Folds, grouped_folds
from ...stats import max_null_p, permutation_p
from .contrasts import Contrast
from .power import ALPHA

Array = NDArray[Any]
MOST_FOLDS = 16
CONTROL = 99
"""Permutations of a control, at most."""


@dataclass(frozen=True, eq=False)
class Cell:
    """What was found for a contrast at a mark: in the model, in its controls, and without any model."""

    contrast: Contrast
    mark: str
    trained: CVResult
    controls: Mapping[str, CVResult]
    baselines: Mapping[str, CVResult]
    concordance: Array

    @property
    def oriented(self) -> Array:
        """``max(accuracy, 1 - accuracy)`` by site."""
        accuracy = self.trained.accuracy.estimate
        return np.maximum(accuracy, 1 - accuracy)

    @property
    def p_oriented(self) -> Array:
        """p-value of `oriented` by site, against the null of its largest over sites."""
        null = np.maximum(self.trained.null_accuracy, 1 - self.trained.null_accuracy)
        return max_null_p(self.oriented, null)[1]

    @property
    def p_nested(self) -> float:
        """p-value of the best site, with the choice among sites paid for."""
        return float(self.trained.p_max.min()) if len(self.trained.null) else float("nan")

    def p_of(self, control: str) -> float:
        """The same of a control, NaN where it was not permuted."""
        result = self.controls[control]
        return float(result.p_max.min()) if len(result.null) else float("nan")


def probe_cell(
    contrast: Contrast,
    mark: str,
    features: Mapping[Any, Tensor],
    controls: Mapping[str, Mapping[Any, Tensor]],
    baselines: Mapping[str, Tensor],
    *,
    folds: int | None,
    settings: Mapping[str, Any],
) -> Cell:
    """Cross-validate everything on the same folds. Raises `SplitError` where groups allow no honest split."""
    split = folds_of(contrast, folds, int(settings["seed"]))
    shared = dict(settings) | {"folds": split}
    truth, groups = contrast.truth, contrast.groups
    trained = cross_validate(features, truth, groups, **shared)
    # Controls are permuted only where there is something to explain.
    there = bool(len(trained.null)) and float(trained.p_max.min()) <= ALPHA
    plain = shared | {"nested": False, "permutations": min(CONTROL, int(settings["permutations"])) if there else 0}
    found = {name: cross_validate(made, truth, groups, **plain) for name, made in controls.items()}
    simple = {
        name: cross_validate({name: x}, truth, groups, **plain | {"permutations": 0}) for name, x in baselines.items()
    }
    within = concordances(trained.scores, truth, contrast.units)
    return Cell(contrast, mark, trained, found, simple, within)


def folds_of(contrast: Contrast, folds: int | None, seed: int) -> Folds:
    """One group left out at a time where there are at most `MOST_FOLDS`; else that many folds of whole groups."""
    count = len(np.unique(contrast.groups))
    return grouped_folds(contrast.truth, contrast.groups, min(count, MOST_FOLDS) if folds is None else folds, seed=seed)


@dataclass(frozen=True, eq=False)
class Family:
    """What the whole table allows a cell: p-values of its sites, and the AUC that a finding takes at each."""

    p: Array
    critical: Array


def family_of(cells: list[Cell], seed: int) -> list[Family]:
    """For each cell, its sites against the largest of the whole table under permuted labels.

    AUCs are compared as distances from the mean of their own null, in its standard deviations. Marks of one contrast
    and dose share their permutations; contrasts and doses are permuted independently of each other.

    Source: Westfall & Young (1993), single-step max-T.
    """
    count = max((len(c.trained.null) for c in cells), default=0)
    if not count:
        nothing = [np.full(len(c.trained.sites), np.nan) for c in cells]
        return [Family(n, n) for n in nothing]
    rng = np.random.default_rng([seed, 1])
    drawn: dict[tuple[str, Any], Array] = {}
    largest, scaled = np.full(count, -np.inf), []
    for cell in cells:
        null, key = cell.trained.null, (cell.contrast.name, cell.contrast.dose)
        if key not in drawn:
            drawn[key] = rng.permutation(count) if len(null) == count else rng.integers(0, max(1, len(null)), count)
        if not len(null):
            scaled.append((np.full(len(cell.trained.sites), np.nan),) * 3)
            continue
        mean, spread = null.mean(0), null.std(0)
        varied = spread > 1e-6
        size = np.where(varied, spread, 1.0)
        z = np.where(varied, (null[drawn[key]] - mean) / size, -np.inf)
        largest = np.maximum(largest, z.max(1))
        scaled.append((np.where(varied, (cell.trained.auc.estimate - mean) / size, -np.inf), mean, spread))
    bar = np.quantile(largest, 1 - ALPHA)
    out = []
    for cell, (z, mean, spread) in zip(cells, scaled, strict=True):
        # Over few permutations the two nulls can disagree; the table holds the cell, so its p is never smaller.
        p = np.asarray(permutation_p(z, largest[:, None]))
        out.append(Family(np.maximum(p, cell.trained.p_max) if len(cell.trained.null) else p, mean + bar * spread))
    return out


def one_feature(values: Array) -> Tensor:
    """A feature of its own."""
    return torch.from_numpy(np.asarray(values, np.float64))[:, None]

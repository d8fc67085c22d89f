"""An eraser judged by keys that it has not seen, beside the same eraser judged by keys that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ...errors import SplitError
from ...probes.crossfit import BYTES, Split, held_out_scores
from ...probes.solver import fit_logistic
from ...probes.standardise import moments
from ...splits import Folds, grouped_folds, leave_one_group_out
from .concept import two_classes
from .eraser import Eraser
from .readings import Reading

Array = NDArray[Any]
Fit = Callable[[Tensor, Any], Eraser]

BEFORE, IN_SAMPLE, NESTED = "none", "in-sample", "nested"
FRESH, FRESH_BEFORE = "other half", "none (half the groups)"


@dataclass(frozen=True, eq=False)
class Erasure:
    """What a linear probe reads before and after erasure, by what the eraser was fitted on.

    - ``before``: no eraser.
    - ``in_sample``: fitted on all rows, the held-out ones included. **Below chance by construction** where the eraser
      equalises class means, whatever was there to erase: see ``docs/methods/below-chance.md``.
    - ``nested``: fitted on the training rows of each fold, on which the probe is then trained. An eraser that
      equalises class means (``mean``, ``leace``) leaves a linear probe on the same rows nothing to train on, so .5 is
      by construction as well. What it shows is that the in-sample number was no finding.
    - ``fresh``: fitted on one half of the groups; probes are trained and tested, with folds of their own, on the
      other half. This can show what the eraser missed. ``fresh_before`` is the same without eraser: half as many
      groups train it. Both are ``None`` where ``fresh_missing`` says why.

    ``in_sample_eraser`` is the eraser fitted on everything, the one that goes into a model.
    """

    before: Reading
    in_sample: Reading
    nested: Reading
    fresh_before: Reading | None
    fresh: Reading | None
    fresh_missing: str | None
    in_sample_eraser: Eraser
    folds: Folds
    classes: tuple[Any, Any]
    seed: int

    def readings(self) -> tuple[Reading, ...]:
        """All that there are."""
        every = (self.before, self.in_sample, self.nested, self.fresh_before, self.fresh)
        return tuple(r for r in every if r is not None)

    def rows(self) -> list[dict[str, Any]]:
        """One row of plain JSON per reading, with the number of groups on whose grid its numbers lie."""
        groups = len(np.unique(self.folds.groups))
        return [{"method": self.in_sample_eraser.method, **r.row(), "groups": groups} for r in self.readings()]


def nested_erasure(
    features: Float[Tensor, "row d"],
    labels: ArrayLike,
    groups: ArrayLike,
    fit: Fit,
    *,
    folds: Folds | None = None,
    fresh: bool = True,
    C: float = 1.0,
    tol: float = 1e-5,
    seed: int = 0,
) -> Erasure:
    """Fit an eraser inside each training fold, and beside it on everything, and probe what is left.

    Args:
        features: activations at one site.
        labels: two classes.
        groups: keys; all rows of a key (its prefixes, its variants) are on one side of every split.
        fit: ``fit_leace`` and its like, or ``functools.partial(fit_inlp, rounds=4)``.
        folds: by default one group is left out at a time.
        fresh: also fit on one half of the groups and probe within the other.
        C: inverse strength of the probe's penalty, in scikit-learn's convention.
        tol: of the probe's weights.
        seed: of the halves, nothing else.

    Raises:
        SplitError: labels or groups that allow no honest split.
        ActivationError, ConvergenceError: from the eraser or the probe.

    >>> from interp.directions import fit_mean
    >>> x = torch.randn(14, 64, generator=torch.Generator().manual_seed(0))
    >>> found = nested_erasure(x, [0, 1] * 7, [i // 2 for i in range(14)], fit_mean)
    >>> found.in_sample.accuracy, found.nested.accuracy
    (0.0, 0.5)
    """
    x, truth = two_classes(features, labels, "nested erasure")
    y, g = np.asarray(labels), np.asarray(groups)
    split = leave_one_group_out(y, g) if folds is None else folds
    if not (np.array_equal(split.labels, y) and np.array_equal(split.groups, g)):
        raise SplitError("the folds given were made for other labels or groups")
    everything = fit(x, y)
    parts = _splits(split)
    reader = _Reader(truth, C, tol)
    half, missing = _halves(y, g, seed) if fresh else (None, "it was not asked for")
    fresh_before = fresh_after = None
    if half is not None:
        fresh_before = Reading(FRESH_BEFORE, _other_half(x, y, g, half, None, reader), truth.numpy(), g)
        fresh_after = Reading(FRESH, _other_half(x, y, g, half, fit, reader), truth.numpy(), g)
    low, high = np.unique(y)
    return Erasure(
        Reading(BEFORE, reader.scores(x, parts), truth.numpy(), g),
        Reading(IN_SAMPLE, reader.scores(everything(x), parts), truth.numpy(), g),
        Reading(NESTED, _inside(x, y, parts, fit, reader), truth.numpy(), g),
        fresh_before, fresh_after, missing, everything, split, (low.item(), high.item()), seed,
    )  # fmt: skip


@dataclass(frozen=True)
class _Reader:
    """A logistic probe, fitted split by split."""

    truth: Tensor
    C: float
    tol: float

    def scores(self, x: Tensor, splits: Sequence[Split]) -> Array:
        out = np.full(len(x), np.nan)
        fitted = held_out_scores(x, self.truth[None].double(), splits, C=self.C, tol=self.tol)
        for (_, test), s in zip(splits, fitted, strict=True):
            out[test.numpy()] = s[0].numpy()
        return out


def _splits(folds: Folds) -> list[Split]:
    return [(torch.from_numpy(folds.train(f)), torch.from_numpy(folds.test(f))) for f in range(folds.count)]


def _inside(x: Tensor, y: Array, splits: Sequence[Split], fit: Fit, reader: _Reader) -> Array:
    """Scores after erasers that saw the training rows of each split only."""
    out = np.full(len(x), np.nan)
    longest = max(len(train) for train, _ in splits)
    size = max(1, BYTES // (8 * longest * (3 * min(longest, x.shape[1]) + x.shape[1])))
    for start in range(0, len(splits), size):
        batch = splits[start : start + size]
        z, weight = x.new_zeros(len(batch), longest, x.shape[1]), x.new_zeros(len(batch), longest)
        truth = torch.zeros_like(weight)
        tests = []
        for k, (train, test) in enumerate(batch):
            eraser = fit(x[train], y[train.numpy()])
            rows = eraser(x[train])
            mean, scale = moments(rows)
            z[k, : len(train)] = (rows - mean) / scale
            truth[k, : len(train)] = reader.truth[train].double()
            weight[k, : len(train)] = 1.0
            tests.append((eraser(x[test]) - mean) / scale)
        fits = fit_logistic(z, truth[:, None], weight, C=reader.C, tol=reader.tol)
        for k, (_, test) in enumerate(batch):
            out[test.numpy()] = (tests[k] @ fits.coef[k, 0] + fits.intercept[k, 0]).numpy()
    return out


def _halves(y: Array, g: Array, seed: int) -> tuple[Array | None, str | None]:
    """Which half each row is in, or why there are none."""
    try:
        half = grouped_folds(y, g, 2, seed=seed)
        for k in range(2):
            rows = half.test(k)
            leave_one_group_out(y[rows], g[rows])
    except SplitError as error:
        return None, f"halves of the groups allow no cross-validation of their own: {error}"
    return half.of, None


def _other_half(x: Tensor, y: Array, g: Array, half: Array, fit: Fit | None, reader: _Reader) -> Array:
    """Scores within each half, leaving one group out, after an eraser that saw the other half only."""
    out = np.full(len(x), np.nan)
    for k in range(2):
        rows, others = np.flatnonzero(half == k), np.flatnonzero(half != k)
        treated = x if fit is None else fit(x[torch.from_numpy(others)], y[others])(x)
        inner = leave_one_group_out(y[rows], g[rows])
        at = torch.from_numpy(rows)
        splits = [(at[train], at[test]) for train, test in _splits(inner)]
        out[rows] = reader.scores(treated, splits)[rows]
    return out

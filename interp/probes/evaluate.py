"""Cross-validated probes at many sites: held-out scores, intervals, the null of the best site, and an honest estimate of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..errors import ActivationError, NonFiniteError, SplitError
from ..splits import Folds, grouped_folds
from ..stats import Interval, Permutations, accuracy, auc, cluster_bootstrap, max_null_p, permute_labels
from .crossfit import Split, held_out_scores

Array = NDArray[Any]
NESTED_PARTS = 10
"""Parts into which the folds are merged for the nested choice of a site, which needs a fit for every two of them."""


@dataclass(frozen=True, eq=False)
class Nested:
    """What the best site is worth when it is chosen without the groups that judge it.

    ``chosen`` has, for each part of the data, the site that was best on the other parts; ``scores`` are that site's held-out scores.
    """

    auc: Interval
    accuracy: Interval
    chosen: tuple[Hashable, ...]
    scores: Float[np.ndarray, "example"]


@dataclass(frozen=True, eq=False)
class CVResult:
    """Held-out performance of one probe per site. Axes: sites in the order given, examples, permutations."""

    sites: tuple[Hashable, ...]
    classes: tuple[Any, Any]
    scores: Float[np.ndarray, "site example"]
    auc: Interval
    accuracy: Interval
    null: Float[np.ndarray, "permutation site"]
    p: Float[np.ndarray, "site"]
    p_max: Float[np.ndarray, "site"]
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

    def null_quantile(self, q: float = 0.95) -> float:
        """Quantile of the null of the largest AUC over sites; NaN without permutations."""
        return float(np.quantile(self.null.max(1), q)) if self.null.size else float("nan")


def cross_validate(
    features: Mapping[Any, Tensor],
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    C: float = 1.0,
    folds: int | Folds = 10,
    permutations: int = 200,
    bootstrap: int = 2000,
    level: float = 0.95,
    nested: bool = True,
    seed: int = 0,
    tol: float = 1e-5,
    progress: bool | None = None,
) -> CVResult:
    """Probe every site with grouped cross-validation, and test the sites together.

    Args:
        features: rows of activations per site, ``[example, d]``; widths may differ.
        labels: two classes; scores are positive for the one that sorts last.
        groups: examples of one group are never on both sides, are resampled together, and permuted as `permute_labels` says.
        C: inverse strength of the L2 penalty on standardised features, as in scikit-learn.
        folds: how many, or ready-made `Folds`.
        permutations: label permutations; each is fitted anew at every site and fold.
        bootstrap: resamples of groups for the intervals.
        nested: also choose the site inside the training folds, which takes up to 45 more fits per site.
        progress: draw a progress bar; by default on a terminal only.

    The intervals hold the fitted probes fixed: they are about other groups, not about another training set.

    Raises:
        SplitError: labels or groups that allow no honest split.
        NonFiniteError: NaN or infinity, with site and example.

    >>> x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    >>> result = cross_validate({"a": x, "b": x.roll(1, 0)}, x[:, 0] > 0, range(40), permutations=19, bootstrap=200)
    >>> result.sites[result.best], result.p_max.tolist()[0]
    ('a', 0.05)
    """
    y, g = np.asarray(labels), np.asarray(groups)
    split = folds if isinstance(folds, Folds) else grouped_folds(y, g, folds, seed=seed)
    if isinstance(folds, Folds) and not (np.array_equal(folds.labels, y) and np.array_equal(folds.groups, g)):
        raise SplitError("the folds given were made for other labels or groups")
    _check_features(features, y.size)
    low, high = np.unique(y)
    truth = y == high
    drawn = permute_labels(truth, g, permutations, folds=split.of, seed=seed)
    drawn = _trainable(drawn, split)
    everything = torch.from_numpy(np.concatenate([truth[None], drawn.labels]).astype(np.float64))
    parts = _parts(split, truth) if nested else "nested=False"
    pairs = [] if isinstance(parts, str) else _pair_splits(parts)
    scores, null, inner = [], [], []
    with _progress(len(features) * (split.count + len(pairs)), progress) as step:
        for x in features.values():
            s = _scores(x, everything, split, C, tol, step)
            scores.append(s[0])
            null.append(auc(s[1:], drawn.labels) if len(drawn.labels) else np.zeros(0))
            if not isinstance(parts, str):
                inner.append(_inner_aucs(x, everything[:1], parts, pairs, C, tol, step))
    sites, score = tuple(features), np.stack(scores)
    interval = _intervals(score, truth, g, bootstrap, level, seed)
    p, p_max = max_null_p(interval[0].estimate, np.stack(null, 1))
    chosen = None if isinstance(parts, str) else _nested(np.stack(inner), score, parts, sites, truth, g, bootstrap, level, seed)
    return CVResult(
        sites, (low.item(), high.item()), score, *interval, np.stack(null, 1), p, p_max, drawn, split, chosen,
        parts if isinstance(parts, str) else None, C, seed,
    )  # fmt: skip


def paired_difference(a: CVResult, b: CVResult, *, bootstrap: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
    """AUC of ``a`` minus AUC of ``b`` per site, on the same examples, with an interval from the same resamples of groups.

    A single site in ``b`` is compared with every site in ``a``.

    Raises:
        SplitError: the two are not of the same examples.
    """
    if not (np.array_equal(a.folds.labels, b.folds.labels) and np.array_equal(a.folds.groups, b.folds.groups)):
        raise SplitError("only results on the same examples, in the same order, can be compared pairwise")
    if len(b.sites) not in (1, len(a.sites)):
        raise SplitError(f"cannot pair {len(a.sites)} sites with {len(b.sites)}")
    other = np.broadcast_to(b.scores, a.scores.shape)

    def difference(w: Array) -> Array:
        return np.stack([auc(s, a.truth, w) - auc(t, a.truth, w) for s, t in zip(a.scores, other)], -1)

    return cluster_bootstrap(difference, a.folds.groups, replicates=bootstrap, level=level, method="t", seed=seed)


def _check_features(features: Mapping[Any, Tensor], n: int) -> None:
    if not features:
        raise ActivationError("there are no sites to probe")
    for site, x in features.items():
        if x.dim() != 2 or len(x) != n:
            raise ActivationError(f"features of {site} have shape {list(x.shape)}, but there are {n} labels")
        bad = ~torch.isfinite(x).all(1)
        if bool(bad.any()):
            raise NonFiniteError(f"features of {site} hold NaN or infinity in {int(bad.sum())} examples, first number {int(bad.nonzero()[0])}")


def _trainable(drawn: Permutations, split: Folds) -> Permutations:
    """Without labellings that leave a fold one class to train on. The observed one is of the same kind, so the test stays exact."""
    inside = np.stack([split.of != f for f in range(split.count)]).astype(np.int64)
    positive = drawn.labels.astype(np.int64) @ inside.T
    keep = ((positive > 0) & (positive < inside.sum(1))).all(1)
    if keep.all():
        return drawn
    return Permutations(drawn.labels[keep], drawn.scheme, drawn.attainable, drawn.exact, max(drawn.min_p, 1 / (1 + int(keep.sum()))))


def _splits(of: Array, held_out: list[tuple[int, ...]]) -> list[Split]:
    masks = [np.isin(of, parts) for parts in held_out]
    return [(torch.from_numpy(np.flatnonzero(~m)), torch.from_numpy(np.flatnonzero(m))) for m in masks]


def _scores(x: Tensor, y: Tensor, split: Folds, C: float, tol: float, step: Callable[[int], object]) -> Array:
    splits = _splits(split.of, [(f,) for f in range(split.count)])
    out = np.empty((len(y), len(x)))
    for (_, test), s in zip(splits, held_out_scores(x, y, splits, C=C, tol=tol, step=step)):
        out[:, test.numpy()] = s.cpu().numpy()
    return out


def _parts(split: Folds, truth: Array) -> Array | str:
    """The part of each example for the nested choice, or why there can be none."""
    part = split.of % NESTED_PARTS
    count = int(part.max()) + 1
    if count < 3:
        return "choosing a site inside the training folds needs three folds"
    for i in range(count):
        for j in range(i):
            left = truth[(part != i) & (part != j)]
            if left.all() or not left.any():
                return "with two folds held out only one class is left to train on"
        if truth[part != i].all() or not truth[part != i].any():
            return "without one fold only one class is left"
    return part


def _pair_splits(part: Array) -> list[tuple[int, int]]:
    count = int(part.max()) + 1
    return [(j, i) for i in range(count) for j in range(i)]


def _inner_aucs(
    x: Tensor, y: Tensor, part: Array, pairs: list[tuple[int, int]], C: float, tol: float, step: Callable[[int], object]
) -> Array:
    """For each part, the AUC on the other parts of probes that saw neither it nor the part they score."""
    count = int(part.max()) + 1
    scores = np.full((count, len(x)), np.nan)
    splits = _splits(part, list(pairs))
    for (i, j), (_, test), s in zip(pairs, splits, held_out_scores(x, y, splits, C=C, tol=tol, step=step)):
        rows, values = test.numpy(), s[0].cpu().numpy()
        scores[i, rows[part[rows] == j]] = values[part[rows] == j]
        scores[j, rows[part[rows] == i]] = values[part[rows] == i]
    truth = y[0].numpy() > 0.5
    return np.array([float(auc(scores[i, part != i], truth[part != i])) for i in range(count)])


def _nested(
    inner: Array, scores: Array, part: Array, sites: tuple[Hashable, ...], truth: Array, groups: Array, count: int, level: float, seed: int
) -> Nested:
    pick = inner.argmax(0)
    own = scores[pick[part], np.arange(scores.shape[1])]
    interval = _intervals(own[None], truth, groups, count, level, seed)
    return Nested(_pick(interval[0], 0), _pick(interval[1], 0), tuple(sites[k] for k in pick), own)


def _pick(i: Interval, k: int) -> Interval:
    parts = (np.asarray(a[k]) for a in (i.estimate, i.low, i.high))
    return Interval(*parts, i.level, i.method, i.groups, i.replicates, np.asarray(i.degenerate[k]))


def _intervals(scores: Array, truth: Array, groups: Array, count: int, level: float, seed: int) -> tuple[Interval, Interval]:
    def both(w: Array) -> Array:
        return np.stack([[auc(s, truth, w) for s in scores], [accuracy(s > 0, truth, w) for s in scores]]).transpose(2, 0, 1)

    units = min(len(np.unique(groups[truth])), len(np.unique(groups[~truth])))
    i = cluster_bootstrap(both, groups, replicates=count, level=level, method="logit", units=units, seed=seed)
    return _pick(i, 0), _pick(i, 1)


class _progress:
    """A bar over fitted splits, on a terminal only unless asked for."""

    def __init__(self, total: int, show: bool | None) -> None:
        self.total, self.show = total, sys.stderr.isatty() if show is None else show

    def __enter__(self) -> Callable[[int], object]:
        if not self.show:
            self.bar = None
            return lambda n: None
        from tqdm import tqdm

        self.bar = tqdm(total=self.total, desc="probing", unit="split", leave=False)
        return self.bar.update

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

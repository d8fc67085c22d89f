"""Cross-validated probes at many sites: held-out scores, intervals, the null of the best site, its honest estimate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..errors import ActivationError, NonFiniteError, SplitError
from ..splits import Folds, grouped_folds
from ..stats import Permutations, accuracy, auc, max_null_p, permute_labels
from .crossfit import Scorer, held_out_scores
from .nested import inner_results, part_pairs, parts_of, splits_without
from .result import CVResult, Nested, intervals, pick
from .threads import side_by_side

Array = NDArray[Any]
LARGE = 1 << 20
"""Numbers in a site's features from which sites are worth a thread each."""


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
    permute: str = "groups",
    nested: bool = True,
    seed: int = 0,
    tol: float = 1e-5,
    null_tol: float = 1e-3,
    scorer: Scorer = held_out_scores,
    progress: bool | None = None,
) -> CVResult:
    """Probe every site with grouped cross-validation, and test the sites together.

    Args:
        features: rows of activations per site, ``[example, d]``; widths may differ.
        labels: two classes; scores are positive for the one that sorts last.
        groups: examples of one group are never on both sides, are resampled together, and permuted as
            `permute_labels` says.
        C: inverse strength of the L2 penalty on standardised features, as in scikit-learn.
        folds: how many, or ready-made `Folds`.
        permutations: label permutations; each is fitted anew at every site and fold.
        permute: ``"groups"`` or ``"examples"`` (within groups), see `permute_labels`.
        bootstrap: resamples of groups for the intervals.
        nested: also choose the site inside the training folds, which takes up to 15 more fits per site.
        tol: of the weights behind scores and AUCs.
        null_tol: of those of the null, where the observed labels are fitted once more, as loosely, so that ``p`` and
            ``p_max`` compare like with like: they are exact at any tolerance.
        scorer: what is fitted on training rows and scores the others, in place of logistic regression; called as
            `held_out_scores` is, such as `interp.directions.held_out.scorer` makes.
        progress: draw a progress bar; by default on a terminal only.

    The intervals hold the fitted probes fixed: they are about other groups, not about another training set.

    Raises:
        SplitError: labels or groups that allow no honest split.
        NonFiniteError: NaN or infinity, with site and example.

    >>> x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    >>> made = {"right": x, "wrong": x.roll(1, 0)}
    >>> result = cross_validate(made, x[:, 0] > 0, range(40), permutations=19, bootstrap=200)
    >>> result.sites[result.best], result.p_max.tolist()[0]
    ('right', 0.05)
    """
    y, g = np.asarray(labels), np.asarray(groups)
    split = folds if isinstance(folds, Folds) else grouped_folds(y, g, folds, seed=seed)
    if isinstance(folds, Folds) and not (np.array_equal(folds.labels, y) and np.array_equal(folds.groups, g)):
        raise SplitError("the folds given were made for other labels or groups")
    _check_features(features, y.size)
    low, high = np.unique(y)
    truth = y == high
    drawn = _trainable(permute_labels(truth, g, permutations, folds=split.of, unit=permute, seed=seed), split)
    judged = [truth[None], drawn.labels] if len(drawn.labels) else []
    every = torch.from_numpy(np.concatenate([truth[None], *judged]).astype(np.float64))
    goal = torch.full((len(every),), max(tol, null_tol), dtype=torch.float64)
    goal[0] = tol
    parts = parts_of(split, truth) if nested else "it was not asked for"
    work = split.count + (0 if isinstance(parts, str) else len(part_pairs(parts)))
    with _progress(len(features) * work, progress) as step:

        def one_site(x: Tensor) -> tuple[Array, Array, Array, Array, Any]:
            s = _scores(x, every, split, C, goal, step, scorer)
            within = None if isinstance(parts, str) else inner_results(x, every[:1], parts, C, tol, step, scorer)
            return s[0], auc(s[1:2], truth), auc(s[2:], drawn.labels), accuracy(s[2:] > 0, drawn.labels), within

        made = side_by_side(one_site, list(features.values()), LARGE)
    scores, alike, null, right, inner = zip(*made, strict=True)
    sites, score, null = tuple(features), np.stack(scores), np.stack(null, 1)
    found = intervals(score, truth, g, bootstrap, level, seed)
    chosen = None
    if not isinstance(parts, str):
        picked = np.stack([aucs for aucs, _ in inner]).argmax(0)
        sizes = np.stack([size for _, size in inner])[picked, np.arange(len(picked))]
        own = score[picked[parts], np.arange(y.size)] / np.maximum(sizes, 1e-300)[parts]
        worth = intervals(own[None], truth, g, bootstrap, level, seed)
        chosen = Nested(pick(worth[0], 0), pick(worth[1], 0), tuple(sites[k] for k in picked), own)
    p, p_max = max_null_p(np.concatenate(alike) if len(null) else found[0].estimate, null)
    return CVResult(
        sites, (low.item(), high.item()), score, *found, null, np.stack(right, 1), p, p_max, drawn, split, chosen,
        parts if isinstance(parts, str) else None, C, seed,
    )  # fmt: skip


def _check_features(features: Mapping[Any, Tensor], n: int) -> None:
    if not features:
        raise ActivationError("there are no sites to probe")
    for site, x in features.items():
        if x.dim() != 2 or len(x) != n:
            raise ActivationError(f"features of {site} have shape {list(x.shape)}, but there are {n} labels")
        bad = ~torch.isfinite(x).all(1)
        if bool(bad.any()):
            count, first = int(bad.sum()), int(bad.nonzero()[0])
            raise NonFiniteError(f"features of {site} hold NaN or infinity in {count} examples, first number {first}")


def _trainable(drawn: Permutations, split: Folds) -> Permutations:
    """Without labellings that leave a fold one class to train on; the observed one is not of that kind either."""
    inside = np.stack([split.of != f for f in range(split.count)]).astype(np.int64)
    positive = drawn.labels.astype(np.int64) @ inside.T
    keep = ((positive > 0) & (positive < inside.sum(1))).all(1)
    if keep.all():
        return drawn
    least = max(drawn.min_p, 1 / (1 + int(keep.sum())))
    return Permutations(drawn.labels[keep], drawn.scheme, drawn.attainable, drawn.exact, least)


def _scores(
    x: Tensor, y: Tensor, split: Folds, C: float, tol: Tensor, step: Callable[[int], object], scorer: Scorer
) -> Array:
    splits = splits_without(split.of, [(f,) for f in range(split.count)])
    out = np.empty((len(y), len(x)))
    for (_, test), s in zip(splits, scorer(x, y, splits, C=C, tol=tol, step=step), strict=True):
        out[:, test.numpy()] = s.cpu().numpy()
    return out


class _progress:
    """A bar over fitted splits, on a terminal only unless asked for."""

    def __init__(self, total: int, show: bool | None) -> None:
        self.total, self.show = total, sys.stderr.isatty() if show is None else show

    def __enter__(self) -> Callable[[int], object]:
        self.bar: Any = None
        if not self.show:
            return lambda n: None
        from tqdm import tqdm

        self.bar = tqdm(total=self.total, desc="probing", unit="split", leave=False)
        return self.bar.update

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

"""Held-out AUCs of beliefs: beside permuted labels, over a whole family, and beside what needs no belief."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from ...memorisation.signature.power import Z_OF_POWER
from ...stats import Interval, auc, cluster_bootstrap, permutation_p, permute_labels
from .centroids import Beliefs
from .contrasts import Contrast
from .requests import TEST, VALIDATION

Array = NDArray[Any]
ALPHA = 0.05
FEWEST_TO_CHOOSE = 5
"""Prompts of a class in a part below which it chooses or judges nothing alone."""
CHANCE = 0.5


@dataclass(frozen=True, eq=False)
class Rival:
    """A control on the same prompts: its AUC, and how far the belief is ahead of it."""

    auc: float
    ahead: Interval

    @property
    def beaten(self) -> bool:
        """Whether the whole interval of the difference lies above 0."""
        return bool(self.ahead.low > 0)


@dataclass(frozen=True, eq=False)
class Judged:
    """One contrast at one mark. The last entry of each depth axis is the belief averaged over depths.

    ``detectable`` is the AUC that `family` would call significant four times in five; NaN where nothing could be.

    ``quoted`` is the AUC with the depth of each part ``chosen`` on the other (see `blind`). ``p_family`` compares each
    depth with the best of the whole family under permuted labels.
    """

    contrast: Contrast
    mark: str
    auc: Interval
    raw_auc: Float[np.ndarray, " depth"]
    null: Float[np.ndarray, "permutation depth"]
    chosen: Mapping[str, int]
    quoted: Interval
    p: Float[np.ndarray, " depth"]
    p_max: Float[np.ndarray, " depth"]
    p_family: Float[np.ndarray, " depth"]
    min_p: float
    detectable: float
    rivals: Mapping[str, Rival]
    rival_auc: Mapping[str, Float[np.ndarray, " _"]]

    @property
    def significant(self) -> bool:
        """Whether the best depth beats the best of the family under permuted labels."""
        return bool(len(self.null)) and float(self.p_family.min()) <= ALPHA

    @property
    def unbeaten(self) -> list[str]:
        """Controls that do as well."""
        return [name for name, rival in self.rivals.items() if not rival.beaten]

    @property
    def found(self) -> bool:
        """Beyond permuted labels, over the whole family, and beyond every control."""
        return self.significant and not self.unbeaten

    @property
    def value(self) -> float:
        """The AUC to quote."""
        return float(self.quoted.estimate)


def stratified_auc(
    scores: Float[np.ndarray, "depth row"], truth: Array, stratum: Int[np.ndarray, " row"], weights: Array | None = None
) -> Array:
    """AUC within each stratum, averaged over strata, ``[..., depth]`` for weights (or truths) ``[..., row]``.

    >>> s, y = np.array([[0.0, 1.0, 9.0, 8.0]]), np.array([False, True, False, True])
    >>> stratified_auc(s, y, np.array([0, 0, 1, 1])).tolist()
    [0.5]
    """
    parts = []
    for number in np.unique(stratum):
        here = stratum == number
        s, y = scores[:, here], truth[..., here]
        if weights is None:
            one = auc(s if y.ndim == 1 else s[:, None], y).T
        else:
            one = np.stack([auc(row, y, weights[..., here]) for row in s], -1)
        parts.append(one)
    return np.asarray(np.mean(parts, axis=0))


def contrast_scores(
    beliefs: Beliefs, contrast: Contrast, mark: str, place: Array, *, raw: bool = False
) -> Float[np.ndarray, "depth row"]:
    """The belief of each row along its own axis by depth; the last row is the mean over depths.

    ``place`` maps numbers of prompts to columns of ``beliefs``.
    """
    out = None
    for number, axis in enumerate(contrast.axes):
        here = contrast.stratum == number
        table = beliefs.of(axis.name, mark, raw=raw)[:, place[contrast.rows[here]]]
        if out is None:
            out = np.zeros((len(table) + 1, len(contrast.rows)))
        out[:-1, here] = table
        out[-1, here] = table[1:].mean(0)
    assert out is not None
    return out


def permuted_truths(
    contrast: Contrast, groups: Array, count: int, seed: int
) -> tuple[Bool[np.ndarray, "p row"], float]:
    """Labellings of the rows that are as likely as the true one if labels have nothing to do with scores.

    Groups are permuted as wholes, among groups that occur in the same strata; the least p-value that can come out.
    """
    g = groups[contrast.rows]
    kinds = {k: "".join(map(str, sorted(set(contrast.stratum[g == k].tolist())))) for k in np.unique(g).tolist()}
    kind = np.array([kinds[k] for k in g.tolist()])
    out = np.repeat(contrast.truth[None], count, 0)
    attainable, rng = 1, np.random.default_rng(seed)
    for name in np.unique(kind):
        here = np.flatnonzero(kind == name)
        if len(np.unique(contrast.truth[here])) < 2:
            continue
        drawn = permute_labels(contrast.truth[here], g[here], count, seed=int(rng.integers(1 << 31)))
        labels = drawn.labels
        if drawn.exact:
            every = np.concatenate([contrast.truth[here][None], labels])
            labels = every[rng.integers(0, len(every), count)]
        out[:, here] = labels
        attainable *= drawn.attainable
    return out, max(1 / (1 + count), 1 / attainable)


def judge(
    contrast: Contrast, mark: str, scores: Float[np.ndarray, "depth row"], raw: Float[np.ndarray, "depth row"],
    controls: Mapping[str, Float[np.ndarray, "_ row"]], groups: Array, part: Array, *, permutations: int,
    bootstrap: int, level: float, seed: int,
) -> Judged:  # fmt: skip
    """AUCs with intervals and nulls, the depth chosen on other prompts, and every control on the same rows."""
    own, g = part[contrast.rows], groups[contrast.rows]
    truth, stratum = contrast.truth, contrast.stratum
    boot: dict[str, Any] = {"replicates": bootstrap, "level": level, "seed": seed}
    units = min(len(np.unique(g[truth])), len(np.unique(g[~truth])))
    every = cluster_bootstrap(
        lambda w: stratified_auc(scores, truth, stratum, w), g, method="logit", units=units, **boot
    )
    drawn, min_p = permuted_truths(contrast, groups, permutations, seed)
    null = stratified_auc(scores, drawn, stratum) if permutations else np.zeros((0, len(scores)))
    size, chance = _size(every.estimate, contrast), _size(null, contrast)
    p = permutation_p(size, chance) if permutations else np.full(len(scores), np.nan)
    p_max = permutation_p(size, chance.max(1, keepdims=True)) if permutations else p
    honest, chosen = blind(scores, contrast, own)
    layers = strata_of(contrast, own)
    sign = -1.0 if contrast.two_sided and float(stratified_auc(honest[None], truth, layers)[0]) < CHANCE else 1.0
    quoted = _interval(honest, None, truth, layers, g, 1.0, boot)
    rivals = {}
    # The embedding sees the token at the mark and nothing else.
    for name, other in {**controls, "embedding": scores[:1]}.items():
        mine, _ = blind(other, contrast, own, sign)
        value = float(stratified_auc(mine[None], truth, layers)[0])
        rivals[name] = Rival(value, _interval(honest, mine, truth, layers, g, sign, boot))
    by_depth = {name: stratified_auc(other, truth, stratum) for name, other in controls.items()}
    return Judged(
        contrast, mark, every, stratified_auc(raw, truth, stratum), null, chosen, quoted, p, p_max, p_max, min_p,
        float("nan"), rivals, by_depth,
    )  # fmt: skip


def blind(
    scores: Float[np.ndarray, "depth row"], contrast: Contrast, part: Array, sign: float | None = None
) -> tuple[Float[np.ndarray, " row"], dict[str, int]]:
    """The scores to quote: each part's at the depth that was best on the other; and these depths.

    The mean over depths where a part is too small to choose.

    >>> scores, truth = np.array([[0.0] * 20, [1.0, 0.0] * 10, [9.0] * 20]), np.array([True, False] * 10)
    >>> contrast = Contrast("plain", np.arange(20), truth, np.zeros(20, int), ())
    >>> blind(scores, contrast, np.repeat(["val", "test"], 10))[1]
    {'val': 1, 'test': 1}
    """
    if len(scores) == 1 or not _splits(contrast, part):
        return scores[-1], {}
    out, chosen = np.zeros(scores.shape[1]), {}
    for name, other in ((VALIDATION, TEST), (TEST, VALIDATION)):
        here = part == other
        value = stratified_auc(scores[:, here], contrast.truth[here], contrast.stratum[here])
        size = _size(value, contrast) if sign is None else sign * (value - CHANCE)
        chosen[name] = int(np.argmax(size))
        out[part == name] = scores[chosen[name], part == name]
    return out, chosen


def strata_of(contrast: Contrast, part: Array) -> Int[np.ndarray, " row"]:
    """Strata of `blind` scores, which are compared within a part only."""
    return 2 * contrast.stratum + (part == TEST) if _splits(contrast, part) else contrast.stratum


def _splits(contrast: Contrast, part: Array) -> bool:
    """Whether both parts have some of both classes in every stratum."""
    counts = [
        int(((part == name) & (contrast.stratum == s) & (contrast.truth == t)).sum())
        for name in (VALIDATION, TEST)
        for s in np.unique(contrast.stratum)
        for t in (False, True)
    ]
    return min(counts) >= FEWEST_TO_CHOOSE


def family(judged: Sequence[Judged]) -> list[Judged]:
    """The same with ``p_family``: each depth against the largest of the whole family under permuted labels.

    AUCs are compared as distances from the mean of their own null, in its standard deviations; contrasts and marks are
    permuted independently of each other.

    Source: Westfall & Young (1993), single-step max-T.
    """
    count = max((len(j.null) for j in judged), default=0)
    if not count:
        return list(judged)
    scaled, largest = [], np.full(count, -np.inf)
    for j in judged:
        mean, spread = j.null.mean(0), j.null.std(0)
        varied = spread > 1e-6
        width = np.where(varied, spread, 1.0)
        z, drawn = (np.where(varied, _scaled(v - mean, j.contrast) / width, -np.inf) for v in (j.auc.estimate, j.null))
        scaled.append(z)
        largest = np.maximum(largest, drawn.max(1))
    bar = float(np.quantile(largest, 1 - ALPHA))
    return [
        replace(j, p_family=np.maximum(permutation_p(z, largest[:, None]), j.p_max), detectable=_detectable(j, bar))
        for j, z in zip(judged, scaled, strict=True)
    ]


def _detectable(j: Judged, bar: float) -> float:
    """The AUC that would be significant over the family about four times in five, at the depth where that is least.

    See `interp.memorisation.signature.power`: the spread of an AUC around its own value is taken to be the null's.
    """
    spread = j.null.std(0)
    varied = spread > 1e-6
    if j.min_p > ALPHA or not varied.any():
        return float("nan")
    return min(1.0, float((j.null.mean(0) + (bar + Z_OF_POWER) * spread)[varied].min()))


def _scaled(difference: Array, contrast: Contrast) -> Array:
    return np.abs(difference) if contrast.two_sided else difference


def _size(value: Array, contrast: Contrast) -> Array:
    return np.abs(value - CHANCE) if contrast.two_sided else value


def _interval(
    scores: Array, other: Array | None, truth: Array, stratum: Array, groups: Array, sign: float, boot: dict[str, Any]
) -> Interval:
    """The AUC of scores, or its lead over that of others."""
    if other is None:
        units = min(len(np.unique(groups[truth])), len(np.unique(groups[~truth])))
        return cluster_bootstrap(
            lambda w: stratified_auc(scores[None], truth, stratum, w)[..., 0], groups, method="logit", units=units,
            **boot,
        )  # fmt: skip
    both = np.stack([scores, other])

    def lead(w: Array) -> Array:
        value = stratified_auc(both, truth, stratum, w)
        return np.asarray(sign * (value[..., 0] - value[..., 1]))

    return cluster_bootstrap(lead, groups, method="t", **boot)

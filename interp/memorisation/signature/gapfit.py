"""The gap of given activations: at every depth, with its null and the depth chosen inside the folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...probes.crossfit import Split, held_out_scores
from ...probes.nested import PARTS, part_pairs, splits_without
from ...probes.result import pick
from ...splits import Folds, grouped_folds
from ...stats import Interval, cluster_bootstrap, max_null_p, permutation_p
from ..features import depth_of, first_block
from .arms import Arms
from .cells import MOST_FOLDS
from .power import ALPHA, Z_OF_POWER
from .rows import triple

Array = NDArray[Any]
CHANCE = 0.5


@dataclass(frozen=True, eq=False)
class Gap:
    """The gap at every depth, by group, and its null ``[permutation, depth]``."""

    sites: tuple[Any, ...]
    memorised: Interval
    baseline: Interval
    plain: Interval
    clamped: Interval
    mean: Interval
    mean_clamped: Interval
    nested: Interval | None
    nested_sites: tuple[str, ...]
    nested_missing: str | None
    null: Array
    min_p: float
    arrangements: int
    folds: int
    groups: int

    def rows(self) -> list[dict[str, Any]]:
        """One row per depth."""
        out = []
        p, p_max = max_null_p(self.plain.estimate, self.null)
        for k, site in enumerate(self.sites):
            row = {"site": str(site), "depth": depth_of(site, k), **triple("acc_mc", self.memorised, k)}
            row |= triple("acc_cb", self.baseline, k) | triple("gap", self.plain, k)
            row |= triple("gap_clamped", self.clamped, k)
            if len(self.null):
                row |= {"p": float(p[k]), "p_max": float(p_max[k])}
            out.append({**row, "n_groups": self.groups})
        return out

    def summary(self) -> dict[str, Any]:
        """Mean over transformer depths, peak, and the depth chosen inside the folds."""
        peak = int(np.argmax(self.plain.estimate))
        start = first_block(self.sites)
        null, out = self.null, {}
        for name, i in (("mean_gap", self.mean), ("mean_gap_clamped", self.mean_clamped), ("nested_gap", self.nested)):
            values = (None,) * 3 if i is None else (float(i.estimate), float(i.low), float(i.high))
            out |= dict(zip((name, f"{name}_lo", f"{name}_hi"), values, strict=True))
        drawn = null[:, start:].mean(1)
        p_mean = float(permutation_p(self.mean.estimate, drawn))
        return {
            **out, "p_mean": p_mean if len(null) else None,
            "peak_gap": float(self.plain.estimate[peak]), "peak_site": str(self.sites[peak]),
            "peak_depth": depth_of(self.sites[peak], peak),
            "p_peak": float(max_null_p(self.plain.estimate, null)[1][peak]) if len(null) else None,
            "nested_sites": list(self.nested_sites), "nested_missing": self.nested_missing,
            "baseline_mean": float(self.baseline.estimate[start:].mean()),
            "detectable": _detectable(drawn, self.min_p), "min_p": self.min_p, "arrangements": self.arrangements,
            "permutations": len(null), "folds": self.folds, "groups": self.groups,
        }  # fmt: skip


def measure_gap(
    features: Mapping[Any, Tensor], arms: Arms, *, C: float, folds: int | None, permutations: int, bootstrap: int,
    level: float, tol: float, seed: int,
) -> Gap:  # fmt: skip
    """The gap of given activations.

    Under the null, which of a group's two held-out accuracies is the memorised one is a coin, the same coin at every
    depth; probes stay as they are. Groups that are held out together are scored by one probe and lean the same way:
    they share a coin, and are resampled together. (Exchanging the wordings themselves and fitting anew would test
    another null: there, wordings that are equally far from C, each in its own way, are mixed up with each other.)

    Raises:
        SplitError: groups that allow no honest split.
    """
    split = _folds(arms, folds, seed)
    index = np.unique(arms.groups, return_inverse=True)[1]
    parts, missing = _parts(split)
    shares, inner = [], []
    for x in features.values():
        right = _right(x, arms, splits_without(split.of, [(f,) for f in range(split.count)]), C, tol)
        shares.append(_by_group(right, arms.used, index))
        if parts is not None:
            inner.append(_inner(x, arms, parts, index, C, tol))
    table = np.stack(shares)  # [site, arm, group]
    fold_of = np.zeros(table.shape[2], np.int64)
    fold_of[index] = split.of
    flips, arrangements = _flips(fold_of, permutations, seed)
    difference = table[:, 0] - table[:, 1]
    null = flips @ difference.T / table.shape[2]
    least = max(1 / (1 + len(flips)), 1 / arrangements)
    boot: dict[str, Any] = {"replicates": bootstrap, "level": level, "method": "t", "seed": seed, "clusters": fold_of}
    sites, nested, named = tuple(features), None, ()
    start = first_block(sites)
    if parts is not None:
        part_of = np.zeros(table.shape[2], np.int64)
        part_of[index] = parts
        best = np.stack(inner)[start:].argmax(0) + start
        named = tuple(str(sites[k]) for k in best)
        own = table[best[part_of], :, np.arange(table.shape[2])].T[None]
        nested = pick(_interval(own, "plain", boot), 0)
    return Gap(
        sites, _interval(table, "memorised", boot), _interval(table, "baseline", boot), _interval(table, "plain", boot),
        _interval(table, "clamped", boot), pick(_interval(table[start:], "plain", boot, average=True), 0),
        pick(_interval(table[start:], "clamped", boot, average=True), 0), nested, named, missing, null, least,
        arrangements, split.count, table.shape[2],
    )  # fmt: skip


def _flips(fold_of: Array, count: int, seed: int) -> tuple[Array, int]:
    """Signs ``[draw, group]``, and how many there are; all others than the observed ones where that is few enough."""
    folds = int(fold_of.max()) + 1
    attainable = 2**folds
    if attainable - 1 <= count:
        bits = np.arange(1, attainable)[:, None] >> np.arange(folds) & 1
        return (1.0 - 2.0 * bits)[:, fold_of], attainable
    return np.random.default_rng(seed).choice([-1.0, 1.0], (count, folds))[:, fold_of], attainable


def _folds(arms: Arms, folds: int | None, seed: int) -> Folds:
    count = len(np.unique(arms.groups))
    return grouped_folds(arms.truth[0], arms.groups, min(count, MOST_FOLDS) if folds is None else folds, seed=seed)


def _right(x: Tensor, arms: Arms, splits: list[Split], C: float, tol: float) -> Array:
    """Whether each row is on the right side of 0 when held out, ``[arm, row]``; a score of 0 counts half."""
    out = np.full(arms.truth.shape, np.nan)
    for (_, test), right in _held_out(x, arms, splits, C, tol):
        out[:, test.numpy()] = right
    return out


def _held_out(x: Tensor, arms: Arms, splits: list[Split], C: float, tol: float) -> list[tuple[Split, Array]]:
    y, mask = (torch.from_numpy(a.astype(np.float64)) for a in (arms.truth, arms.used))
    made = []
    for split, s in zip(splits, held_out_scores(x, y, splits, used=mask, C=C, tol=tol), strict=True):
        scores = s.cpu().numpy()
        right = (scores > 0) == arms.truth[:, split[1].numpy()]
        made.append((split, np.where(np.abs(scores) < 1e-9, CHANCE, right)))
    return made


def _by_group(right: Array, used: Array, index: Array) -> Array:
    """Mean over the used rows of each group, ``[arm, group]``; a group counts once, however many rows it has."""
    member = (index[:, None] == np.arange(index.max() + 1)).astype(float)
    return np.asarray((np.where(used, right, 0.0) @ member) / (used @ member))


def _parts(split: Folds) -> tuple[Array | None, str | None]:
    part = split.of % PARTS
    if int(part.max()) < 2:
        return None, "choosing a depth inside the training folds needs three folds"
    return part, None


def _inner(x: Tensor, arms: Arms, part: Array, index: Array, C: float, tol: float) -> Array:
    """For each part, the gap on the other parts by probes that saw neither it nor what they score."""
    pairs, count = part_pairs(part), int(part.max()) + 1
    rights = np.full((count, *arms.truth.shape), np.nan)
    for (i, j), ((_, test), right) in zip(
        pairs, _held_out(x, arms, splits_without(part, [*pairs]), C, tol), strict=True
    ):
        rows = test.numpy()
        for own, other in ((i, j), (j, i)):
            rights[own][:, rows[part[rows] == other]] = right[:, part[rows] == other]
    out = np.empty(count)
    for k in range(count):
        rest = part != k
        share = _by_group(rights[k][:, rest], arms.used[:, rest], np.unique(index[rest], return_inverse=True)[1])
        out[k] = (share[0] - share[1]).mean()
    return out


def _interval(table: Array, kind: str, boot: dict[str, Any], average: bool = False) -> Interval:
    """Of ``table [site, arm, group]``, by resampling the groups of whole folds."""

    def statistic(w: Array) -> Array:
        share = np.einsum("rg,sag->rsa", w, table) / w.sum(-1)[:, None, None]
        memorised, baseline = share[..., 0], share[..., 1]
        value = {
            "memorised": memorised, "baseline": baseline, "plain": memorised - baseline,
            "clamped": memorised - np.maximum(baseline, CHANCE),
        }[kind]  # fmt: skip
        return np.asarray(value.mean(-1, keepdims=True) if average else value)

    own = {k: v for k, v in boot.items() if k != "clusters"}
    return cluster_bootstrap(statistic, boot["clusters"], **own)


def _detectable(null: Array, min_p: float) -> float | None:
    """The mean gap that would be found four times in five; see `interp.memorisation.signature.power`."""
    return float(np.quantile(null, 0.95) + Z_OF_POWER * null.std()) if len(null) and min_p <= ALPHA else None

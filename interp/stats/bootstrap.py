"""Confidence intervals that resample groups, because examples of one group are not independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import StatisticsError

Array = NDArray[Any]
METHODS = ("logit", "t", "percentile", "bca")
CHUNK = 4_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; arrays of the statistic's own shape.

    ``degenerate`` counts the replicates in which the statistic was undefined (a class was not drawn, say); the
    interval is of the others.
    """

    estimate: Array
    low: Array
    high: Array
    level: float
    method: str
    groups: int
    replicates: int
    degenerate: Array


def cluster_bootstrap(
    statistic: Callable[[Array], Array],
    groups: ArrayLike,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    method: str = "percentile",
    units: int | None = None,
    seed: int = 0,
) -> Interval:
    """Confidence interval of a statistic by resampling whole groups with replacement.

    Args:
        statistic: maps example weights ``[replicate, example]`` (how often each example was drawn) to ``[replicate,
            ...]``. Several statistics in one array share their replicates, so that differences between them are
            paired.
        groups: the group of each example.
        replicates: how many resamples.
        level: coverage aimed at.
        method: ``percentile`` and ``bca`` (Efron 1987) read quantiles of the replicates; they cover too little with
            few groups or near 1. ``t`` is the estimate ± Student's t (groups - 1) times the replicates' standard
            deviation. ``logit``, for shares and AUCs, is the same on the logit scale, so that it stays in [0, 1].
            The measured coverages are in ``docs/methods/linear-probe.md``.
        units: for ``logit``: groups that could have spoilt an estimate of exactly 0 or 1, where no replicate
            differs from it. The interval then goes as far as ``units`` independent successes leave open, ``tail **
            (1 / units)``. All groups by default.

    Raises:
        StatisticsError: fewer than two groups.

    >>> x, g = np.arange(12.0), np.repeat(np.arange(6), 2)
    >>> ci = cluster_bootstrap(lambda w: (w * x).sum(-1) / w.sum(-1), g)
    >>> float(ci.estimate), bool(ci.low < 5.5 < ci.high)
    (5.5, True)
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    count = int(index.max()) + 1 if index.size else 0
    if count < 2:
        raise StatisticsError(f"a bootstrap over groups needs two groups or more, got {count}")
    if method not in METHODS:
        raise StatisticsError(f"method is one of {', '.join(METHODS)}, got {method!r}")
    estimate = np.asarray(np.asarray(statistic(np.ones((1, index.size))))[0])
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=replicates)
    values = _chunked(statistic, draws, index)
    if method in ("t", "logit"):
        low, high = _student(estimate, values, (1 + level) / 2, count, units or count, method == "logit")
    else:
        tails = np.array([(1 - level) / 2, (1 + level) / 2]).reshape(2, *[1] * estimate.ndim)
        if method == "bca":
            leave_one = _chunked(statistic, 1 - np.eye(count, dtype=np.int64), index)
            tails = _bca_tails(estimate, values, leave_one, tails)
        low, high = _quantiles(values, np.broadcast_to(tails, (2, *estimate.shape)))
    return Interval(estimate, low, high, level, method, count, replicates, np.asarray(np.isnan(values).sum(0)))


def replicate_interval(
    estimate: ArrayLike, replicates: ArrayLike, groups: int, *, level: float = 0.95
) -> tuple[Array, Array]:
    """Low and high end from replicates that someone else drew, over ``groups``, as ``cluster_bootstrap(method="t")``.

    Args:
        estimate: ``[...]``.
        replicates: ``[replicate, ...]``, each from whole groups drawn with replacement.

    Raises:
        StatisticsError: fewer than two groups.

    >>> low, high = replicate_interval(1.0, [0.9, 1.1, 1.0, 1.0], groups=10)
    >>> bool(low < 1.0 < high)
    True
    """
    if groups < 2:
        raise StatisticsError(f"a bootstrap over groups needs two groups or more, got {groups}")
    return _student(np.asarray(estimate), np.asarray(replicates), (1 + level) / 2, groups, groups, False)


def _chunked(statistic: Callable[[Array], Array], draws: Array, index: Array) -> Array:
    size = max(1, CHUNK // index.size)
    parts = [
        np.asarray(statistic(part[:, index].astype(float))) for part in np.split(draws, range(size, len(draws), size))
    ]
    return np.concatenate(parts)


def _student(
    estimate: Array, values: Array, quantile: float, count: int, units: int, logit: bool
) -> tuple[Array, Array]:
    """The estimate ± t standard errors, with a resample's variance, ``(n-1)/n`` of what it estimates, put right."""
    from scipy import special, stats

    kept = ~np.isnan(values)
    n = kept.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(kept, values, 0.0).sum(0) / n
        variance = (np.where(kept, values - mean, 0.0) ** 2).sum(0) / n * count / (count - 1)
    half = stats.t.ppf(quantile, count - 1) * np.sqrt(variance)
    if not logit:
        return np.asarray(estimate - half), np.asarray(estimate + half)
    open_end = (1 - quantile) ** (1 / units)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread, centre = half / (estimate * (1 - estimate)), special.logit(estimate)
        low = np.where(estimate >= 1, open_end, np.where(estimate <= 0, 0.0, special.expit(centre - spread)))
        high = np.where(estimate <= 0, 1 - open_end, np.where(estimate >= 1, 1.0, special.expit(centre + spread)))
    undefined = np.isnan(estimate)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def _bca_tails(estimate: Array, values: Array, leave_one: Array, tails: Array) -> Array:
    """Tails corrected for bias and skewness (Efron 1987), with the jackknife over groups."""
    from scipy import stats

    count = np.maximum((~np.isnan(values)).sum(0), 1)
    below = ((values < estimate).sum(0) + 0.5 * (values == estimate).sum(0)) / count
    bias = stats.norm.ppf(np.clip(below, 0.5 / count, 1 - 0.5 / count))
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.nanmean(leave_one, 0) - leave_one
        skew = np.nansum(off**3, 0) / (6 * np.nansum(off**2, 0) ** 1.5)
    skew = np.nan_to_num(skew)
    z = stats.norm.ppf(tails)
    return stats.norm.cdf(bias + (bias + z) / (1 - skew * (bias + z)))


def _quantiles(values: Array, tails: Array) -> tuple[Array, Array]:
    flat, t = values.reshape(len(values), -1), tails.reshape(2, -1)
    out = np.full(t.shape, np.nan)
    for k in range(flat.shape[1]):
        kept = flat[:, k][~np.isnan(flat[:, k])]
        if kept.size:
            out[:, k] = np.quantile(kept, t[:, k])
    out = out.reshape(2, *values.shape[1:])
    return np.asarray(out[0]), np.asarray(out[1])

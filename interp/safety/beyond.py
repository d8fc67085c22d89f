"""Is an effect more than what any direction of that length does? Ranks among random directions, signs over prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from ..errors import StatisticsError
from ..stats import Interval, cluster_bootstrap, max_null_p, sign_flip_p

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Beyond:
    """For every dose: where random directions lie, and how unusual the direction is among them.

    ``p`` compares the mean effect with those of random directions at that dose, ``p_max`` with the most unusual dose
    of each, so that a dose may be picked by looking. ``p_prompts`` says whether the effect differs from the mean
    random one over prompts. ``min_p`` is the smallest that ``p`` and ``p_max`` can be.
    """

    p: Float[np.ndarray, " dose"]
    p_max: Float[np.ndarray, " dose"]
    p_prompts: Float[np.ndarray, " dose"]
    centre: Float[np.ndarray, " dose"]
    low: Float[np.ndarray, " dose"]
    high: Float[np.ndarray, " dose"]
    min_p: float
    min_p_prompts: float

    def found(self, alpha: float) -> NDArray[np.bool_]:
        """Doses at which the effect is beyond random directions (corrected for their number) and over prompts."""
        return (self.p_max <= alpha) & (self.p_prompts <= alpha)

    def hinted(self, alpha: float) -> NDArray[np.bool_]:
        """Doses at which it is so only if no other dose was looked at."""
        return (self.p <= alpha) & (self.p_prompts <= alpha) & ~self.found(alpha)


def beyond_random(
    effects: Float[np.ndarray, "dose prompt"],
    drawn: Float[np.ndarray, "draw dose prompt"],
    groups: ArrayLike,
    *,
    level: float = 0.95,
    permutations: int = 9999,
    seed: int = 0,
) -> Beyond:
    """Compare a direction's effect on prompts with those of random directions of the same length.

    The unit of the first test is the direction: were this one drawn like the others, its mean effect would be as likely
    as any of theirs to lie farthest from the middle of all, so that its rank gives a p-value (two-sided, exact). No
    number of prompts makes up for few directions: nineteen are needed for p = .05. The unit of the second test is the
    prompt (or group): signs of the difference from the mean random effect are flipped.

    Distances are from the median over all directions, this one included, in units of their median distance at that
    dose; so a bias that all directions share counts for none.

    Raises:
        StatisticsError: no random direction, or shapes that do not fit.

    Source: the rank test, Phipson & Smyth (2010); the largest over doses, Westfall & Young (1993).

    >>> rng = np.random.default_rng(0)
    >>> drawn = rng.normal(0, 0.1, (19, 1, 1)) + rng.normal(0, 0.05, (19, 1, 12))
    >>> found = beyond_random(np.full((1, 12), 3.0), drawn, np.arange(12))
    >>> found.p_max.tolist(), found.min_p, bool(found.found(0.05)[0])
    ([0.05], 0.05, True)
    """
    e, d = np.asarray(effects, float), np.asarray(drawn, float)
    if d.ndim != 3 or not len(d) or d.shape[1:] != e.shape:
        raise StatisticsError(f"random effects are [draw, dose, prompt] like {list(e.shape)}, got {list(d.shape)}")
    means = np.concatenate([e.mean(-1)[None], d.mean(-1)])
    distance = np.abs(means - np.median(means, axis=0))
    unit = np.median(distance, axis=0)
    scaled = np.divide(distance, unit, out=np.where(distance > 0, np.inf, 0.0), where=unit > 0)
    p, p_max = max_null_p(scaled[0], scaled[1:])
    rest = d.mean(0)
    tests = [sign_flip_p(row, groups, permutations, seed, two_sided=True) for row in e - rest]
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(means[1:], tails, axis=0)
    return Beyond(
        p, p_max, np.array([q for q, _ in tests]), means[1:].mean(0), low, high, 1 / (1 + len(d)), tests[0][1]
    )


def means_over(values: ArrayLike, groups: ArrayLike, **options: Any) -> Interval:
    """Means over prompts with their interval (Student's t over groups), for any leading axes."""
    v = np.asarray(values, float)
    return cluster_bootstrap(
        lambda w: np.einsum("ri,...i->r...", w, v) / w.sum(-1).reshape(-1, *[1] * (v.ndim - 1)), groups, method="t",
        **options,
    )  # fmt: skip


def ratios_over(totals: ArrayLike, sizes: ArrayLike, **options: Any) -> Interval:
    """Sums over texts divided by sums of their sizes, such as nats per token; texts are drawn again."""
    t, s = np.broadcast_arrays(np.asarray(totals, float), np.asarray(sizes, float))
    with np.errstate(invalid="ignore", divide="ignore"):
        return cluster_bootstrap(
            lambda w: np.einsum("ri,...i->r...", w, t) / np.einsum("ri,...i->r...", w, s), np.arange(t.shape[-1]),
            method="t", **options,
        )  # fmt: skip

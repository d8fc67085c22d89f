"""How far a refusal score falls between thinking and answer, and whether that is more than a template's doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from ...errors import ActivationError, StatisticsError
from ...stats import Interval, cluster_bootstrap, permutation_p, permute_labels

Array = NDArray[Any]
LEFT_OUT = 8
"""Tokens at the end of the thinking that are not part of the plateau ..."""
FRACTION = 4
"""... or one in so many of the thinking's own, where it is shorter than 8 times that."""
ALPHA = 0.05
LEAST = 0.1
"""Of the score, which goes from 0 to 1: a smaller fall is no cliff, however sure it is."""


@dataclass(frozen=True, eq=False)
class Drops:
    """Per prompt: the mean score over the thinking, the score at the final token before the answer, the difference.

    ``length`` is the thinking's in tokens. ``template`` tells prompts apart that have other tokens between thinking and
    answer.
    """

    plateau: Float[np.ndarray, " prompt"]
    final: Float[np.ndarray, " prompt"]
    length: Int[np.ndarray, " prompt"]
    template: Int[np.ndarray, " prompt"]

    @property
    def drop(self) -> Float[np.ndarray, " prompt"]:
        """The cliff of each prompt, in units of the score; positive where the score falls."""
        return self.plateau - self.final

    def __len__(self) -> int:
        return len(self.plateau)

    def plateau_alone(self) -> Drops:
        """The same as if every final score were 0: what is compared is then where the thinking stands."""
        return Drops(self.plateau, np.zeros(len(self)), self.length, self.template)

    def select(self, which: Array) -> Drops:
        """Some of the prompts."""
        return Drops(self.plateau[which], self.final[which], self.length[which], self.template[which])


def logistic(log_odds: Float[np.ndarray, " pos"]) -> Float[np.ndarray, " pos"]:
    """Probabilities of log odds, as of a prober: the score between 0 and 1 that cliffs are measured in.

    >>> logistic(np.array([0.0, -800.0])).tolist()
    [0.5, 0.0]
    """
    from scipy.special import expit

    return expit(log_odds)


def left_out(length: int) -> int:
    """How many tokens at the end of a thinking of this length do not count as plateau.

    >>> [left_out(n) for n in (3, 4, 12, 32, 500)]
    [0, 1, 3, 8, 8]
    """
    return min(LEFT_OUT, length // FRACTION)


def drops(
    scores: Sequence[Float[np.ndarray, " _"]],
    length: Int[np.ndarray, " prompt"],
    template: Sequence[Sequence[int]],
) -> Drops:
    """The cliff of each prompt: the mean over its thinking, less its end and the template, minus the final score.

    Args:
        scores: of each prompt's tokens from the first of the thinking to the last before the answer.
        length: how many of these are thinking; the others are the template's.
        template: the ids of the template's tokens.

    Raises:
        ActivationError: a prompt without thinking, or without a token behind it.

    >>> found = drops([np.array([0.9, 0.9, 0.9, 0.5, 0.1])], np.array([4]), [[7]])
    >>> round(float(found.drop[0]), 3)
    0.8
    """
    known = {t: i for i, t in enumerate(dict.fromkeys(map(tuple, template)))}
    plateau = np.zeros(len(scores))
    for i, (s, n) in enumerate(zip(scores, length, strict=True)):
        if not 0 < n < len(s):
            raise ActivationError(f"prompt {i} has {n} tokens of thinking among {len(s)} scores; both parts are needed")
        plateau[i] = s[: int(n) - left_out(int(n))].mean()
    final = np.array([s[-1] for s in scores])
    return Drops(plateau, final, np.asarray(length, np.int64), np.array([known[tuple(t)] for t in template], np.int64))


@dataclass(frozen=True, eq=False)
class Cliff:
    """Whether the suspects' scores fall further than those of controls, which accept as well but are not harmful.

    ``own`` is the suspects' mean drop, ``control`` the controls', ``beyond`` their difference at equal length of
    thinking, each with its interval over groups; ``p`` compares the difference with labels exchanged among prompts
    with the same template. ``compared`` counts the suspects that have a control with their template. Arrays hold three
    numbers: own, control, beyond.
    """

    interval: Interval
    p: float
    min_p: float
    compared: int
    suspects: int
    controls: int

    @property
    def own(self) -> tuple[float, float, float]:
        """Estimate, low, high."""
        return self._of(0)

    @property
    def control(self) -> tuple[float, float, float]:
        """Estimate, low, high."""
        return self._of(1)

    @property
    def beyond(self) -> tuple[float, float, float]:
        """Estimate, low, high."""
        return self._of(2)

    @property
    def found(self) -> bool:
        """Scores fall, and further than the controls' do by both tests: neither a template nor a length can do this.

        Both falls are at least `LEAST`.
        """
        return self.own[1] > 0 and self.further and min(self.own[0], self.beyond[0]) >= LEAST

    @property
    def further(self) -> bool:
        """The difference to the controls is above 0 by both tests."""
        return self.beyond[1] > 0 and self.p < ALPHA

    def _of(self, k: int) -> tuple[float, float, float]:
        i = self.interval
        return float(i.estimate[k]), float(i.low[k]), float(i.high[k])


def compare(
    found: Drops,
    suspect: Bool[np.ndarray, " prompt"],
    groups: Array,
    *,
    permutations: int = 999,
    bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Cliff:
    """Is the drop of the suspects more than that of the controls (all others)?

    A linear prober that was fitted at one token says at other tokens what it happens to say there: all scores may fall
    at the template, whatever the model means. Controls have the same template and the same final behaviour, so their
    drop is the null. Two tests have to agree. Labels are exchanged by groups among prompts with the same tokens between
    thinking and answer, so that no difference of templates counts. And the interval of the difference is at equal
    length of thinking (a regression on the length and its logarithm), so that no drift along it counts.

    Raises:
        StatisticsError: no suspect and control share a template, or a class lies in fewer than two groups.
    """
    shared = np.intersect1d(found.template[suspect], found.template[~suspect])
    inside = np.isin(found.template, shared)
    compared = int((suspect & inside).sum())
    if not compared:
        raise StatisticsError(
            "no suspect has the same tokens between thinking and answer as any control, so that a drop there may be "
            "the template's; give harmless prompts with the same template"
        )
    part, y, g = found.select(inside), suspect[inside], np.asarray(groups)[inside]
    for name, side in (("suspects", y), ("controls", ~y)):
        if len(np.unique(g[side])) < 2:
            raise StatisticsError(
                f"the {name} lie in one group ({int(side.sum())} prompts), so nothing can be resampled"
            )
    columns = _design(part, y)

    def statistic(w: Array) -> Array:
        means = [(w * side * part.drop).sum(-1) / np.maximum((w * side).sum(-1), 1e-12) for side in (y, ~y)]
        empty = ((w * y).sum(-1) == 0) | ((w * ~y).sum(-1) == 0)
        return np.where(empty[..., None], np.nan, np.stack([*means, _coefficient(w, columns, part.drop)], -1))

    interval = cluster_bootstrap(statistic, g, replicates=bootstrap, level=level, method="t", seed=seed)
    null, min_p = _exchanged(part, y, g, permutations, seed)
    observed = part.drop[y].mean() - part.drop[~y].mean()
    p = float(permutation_p(observed, null)) if len(null) else 1.0
    return Cliff(interval, p, min_p, compared, int(suspect.sum()), int((~suspect).sum()))


def _design(part: Drops, y: Array) -> Array:
    """Class, a constant per template, and the length of the thinking with its logarithm, as far as it varies."""
    columns = [y.astype(float), *((part.template == t).astype(float) for t in np.unique(part.template))]
    for values in (part.length.astype(float), np.log(part.length)):
        if np.ptp(values):
            columns.append((values - values.mean()) / values.std())
    return np.stack(columns, 1)


def _coefficient(w: Array, columns: Array, y: Array) -> Array:
    """The first coefficient of least squares under each row of weights."""
    weighted = w[:, :, None] * columns
    normal = np.einsum("rip,iq->rpq", weighted, columns)
    right = np.einsum("rip,i->rp", weighted, y)
    return np.einsum("rq,rq->r", np.linalg.pinv(normal, rcond=1e-10, hermitian=True)[:, 0], right)


def _exchanged(part: Drops, y: Array, groups: Array, count: int, seed: int) -> tuple[Array, float]:
    """Differences of mean drops under labels that were exchanged within templates, and the least p there can be."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(y[None], count, 0)
    least = 1.0
    for t in np.unique(part.template):
        rows = part.template == t
        drawn = permute_labels(y[rows], groups[rows], count, seed=seed)
        least *= 1 / drawn.attainable
        known = np.concatenate([y[rows][None], drawn.labels]) if drawn.exact else drawn.labels
        if drawn.exact:
            labels[:, rows] = known[rng.integers(len(known), size=count)]
        else:
            labels[:, rows] = known[:count]
    sides = [np.where(side, part.drop, 0.0).sum(1) / side.sum(1) for side in (labels, ~labels)]
    return sides[0] - sides[1], max(least, 1 / (1 + count))

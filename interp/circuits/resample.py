"""Bootstrap over pairs while scores stream by: no pair's scores are kept, only those of each replicate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ..stats import replicate_interval

Array = NDArray[Any]

# With fewer groups the intervals of skewed scores are too narrow, whatever is done (docs/benchmarks.md).
FEW_GROUPS = 16


class Totals:
    """Sums of per-pair scores, plainly and under the weights of bootstrap replicates that draw whole groups.

    >>> totals = Totals(np.array(["a", "b", "c"]), replicates=50, seed=0)
    >>> totals.add(torch.tensor([0, 1, 2]), torch.tensor([[1.0], [2.0], [3.0]]))
    >>> float(totals.mean[0]), bool(totals.interval()[0][0] < 2 < totals.interval()[1][0])
    (2.0, True)
    """

    def __init__(self, groups: Array, replicates: int, seed: int) -> None:
        _, index = np.unique(groups, return_inverse=True)
        self.n_groups = int(index.max()) + 1
        # With one group there is nothing to resample.
        self.replicates = replicates if self.n_groups > 1 else 0
        draws = np.random.default_rng(seed).multinomial(
            self.n_groups, np.full(self.n_groups, 1 / self.n_groups), size=self.replicates
        )
        self._weights = torch.from_numpy(draws[:, index].astype(np.float32))
        self._moments = _Moments(index)
        self._sum: Tensor | None = None
        self._drawn: Tensor | None = None
        self._n = len(groups)

    def add(self, example: Int[Tensor, " pair"], scores: Float[Tensor, "pair score"]) -> None:
        """Take the scores of some pairs; scores that come up for the first time were zero before."""
        if self._sum is None or self._drawn is None:
            self._sum = torch.zeros(0, dtype=torch.float64)
            self._drawn = torch.zeros(self.replicates, 0)
        more = (0, scores.shape[1] - len(self._sum))
        if more[1]:
            self._sum = torch.nn.functional.pad(self._sum, more)
            self._drawn = torch.nn.functional.pad(self._drawn, more)
        wide = scores.double().cpu()
        self._sum += wide.sum(0)
        if self.replicates:
            self._moments.add(example, wide)
            self._drawn.addmm_(self._weights[:, example], scores.float().cpu())

    @property
    def mean(self) -> Array:
        """Mean over all pairs."""
        assert self._sum is not None
        return (self._sum / self._n).numpy()

    @property
    def draws(self) -> Array | None:
        """The replicates' means ``[replicate, score]``."""
        if not self.replicates or self._drawn is None:
            return None
        return (self._drawn / self._weights.sum(1, keepdim=True)).numpy()

    def interval(self) -> tuple[Array, Array] | None:
        """Ends of the 95 % interval of each mean; ``None`` without replicates.

        Each end is the farther of two: Student's t with the replicates' standard error, and the same transformed for
        the skewness of the groups' sums. Attribution scores are skewed (an edge matters on some pairs only): t alone
        covers 84 to 94 % of such means with 16 to 64 groups, a BCa interval no more. The transformation alone covers
        92 % where tails are heavy and skewness is but noise. Coverage by shape and groups: docs/benchmarks.md.

        Source: Hall 1992, "On the removal of skewness by transformation" (JRSS B 54, 221-228), the cubic one.
        """
        draws = self.draws
        if draws is None:
            return None
        low, high = replicate_interval(self.mean, draws.astype(np.float64), self.n_groups)
        below, above = _skewed(self.mean, high - self.mean, self._moments.skewness(self.mean), self.n_groups)
        return np.minimum(low, below), np.maximum(high, above)


def few_groups(n_groups: int | None) -> list[str]:
    """A warning for reports with intervals over so many groups, if there are too few; none if the number is unknown."""
    if n_groups is None or n_groups >= FEW_GROUPS:
        return []
    return [
        f"Intervals are over {n_groups} groups of pairs. Below {FEW_GROUPS} they are too narrow where a score is "
        "large on some pairs only: at 8 groups about 92 instead of 95 % hold the truth."
    ]


def _skewed(mean: Array, half: Array, skewness: Array, n: int) -> tuple[Array, Array]:
    """An interval of t, ``half`` to each side, as it is when skewness is transformed away and back again."""
    from scipy import stats

    x = stats.t.ppf(0.975, n - 1) / np.sqrt(n)
    flat = np.abs(skewness) < 1e-6
    g = np.where(flat, 1.0, skewness)
    # The inverse of u + g u^2 / 3 + g^2 u^3 / 27 + g / 6n.
    plus, minus = (np.where(flat, at, (np.cbrt(1 + g * (at - g / (6 * n))) - 1) * 3 / g) for at in (x, -x))
    return mean - half * plus / x, mean - half * minus / x


class _Moments:
    """Second and third moments of the groups' sums about their expectation, while pairs come in any order.

    Only groups of which pairs are still to come are held. Scores are taken relative to the first batch's mean, so that
    nothing is lost where they hardly differ.
    """

    def __init__(self, index: Array) -> None:
        self._group = torch.from_numpy(index)
        self._size = torch.bincount(self._group).double()
        self._missing = self._size.clone()
        self._open: dict[int, Tensor] = {}
        self._origin: Tensor | None = None
        self._powers = torch.zeros(5, 0, dtype=torch.float64)

    def add(self, example: Int[Tensor, " pair"], scores: Float[Tensor, "pair score"]) -> None:
        """Take the scores of some pairs, as `Totals.add` does."""
        origin = scores.mean(0) if self._origin is None else self._origin
        self._origin = _padded(origin, scores.shape[1])
        which, place = self._group[example].unique(return_inverse=True)
        sums = torch.zeros(len(which), scores.shape[1], dtype=torch.float64)
        sums.index_add_(0, place, scores - self._origin)
        self._missing[which] -= torch.bincount(place)
        done = self._missing[which] == 0
        for i, group in enumerate(which.tolist()):
            if group in self._open:
                sums[i] += _padded(self._open.pop(group), scores.shape[1])
            if not done[i]:
                self._open[group] = sums[i].clone()
        s, n = sums[done], self._size[which][done][:, None]
        square = s.square()
        powers = [n * s, n * n * s, square, n * square, s * square]
        self._powers = _padded(self._powers, scores.shape[1]) + torch.stack([p.sum(0) for p in powers])

    def skewness(self, mean: Float[np.ndarray, " score"]) -> Float[np.ndarray, " score"]:
        """Of the groups' sums less what their size makes expected; 0 where they do not differ."""
        assert self._origin is not None
        m = mean - self._origin.numpy()
        ns, nns, ss, nss, sss = self._powers.numpy()
        n = self._size.numpy()
        second = ss - 2 * m * ns + m**2 * (n**2).sum()
        third = sss - 3 * m * nss + 3 * m**2 * nns - m**3 * (n**3).sum()
        flat = second <= 1e-24 * ss
        found = np.where(flat, 0.0, third / np.where(flat, 1.0, second) ** 1.5) * np.sqrt(len(n))
        most = (len(n) - 2) / np.sqrt(len(n) - 1)  # that as many numbers can have
        return np.clip(found, -most, most)


def _padded(x: Tensor, width: int) -> Tensor:
    """With zeros up to a number of scores."""
    return torch.nn.functional.pad(x, (0, width - x.shape[-1]))

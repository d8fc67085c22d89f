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
        self._sum += scores.double().sum(0).cpu()
        if self.replicates:
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
        """Ends of the 95 % interval of each mean (Student's t over groups); ``None`` without replicates."""
        draws = self.draws
        return None if draws is None else replicate_interval(self.mean, draws.astype(np.float64), self.n_groups)

"""Random projection: what removing as many dimensions does when they are any dimensions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from ...errors import StatisticsError
from .concept import checked
from .eraser import Eraser


def fit_random(
    x: Float[Tensor, "row d"], y: ArrayLike, *, rank: int = 1, seed: int = 0, keep_mean: bool = False
) -> Eraser:
    """Project out ``rank`` directions drawn uniformly, without a look at the labels: the baseline of equal rank.

    Raises:
        StatisticsError: a rank that is not between 1 and the width of the activations.

    >>> x = torch.zeros(4, 3)
    >>> fit_random(x, [0, 0, 1, 1], rank=2, seed=1).rank
    2
    """
    rows, _ = checked(x, y)
    if not 1 <= rank <= rows.shape[1]:
        raise StatisticsError(f"rank={rank!r}: it is between 1 and the {rows.shape[1]} dimensions of the activations")
    drawn = torch.randn(rank, rows.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    settings = {"seed": seed, "keep_mean": keep_mean}
    return Eraser.projection(drawn, "random", offset=rows.mean(0) if keep_mean else None, settings=settings)

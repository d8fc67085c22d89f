"""Means and scales of features, from training rows only."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NOISE = 1e-6
"""Spread, relative to a feature's mean and to the size of all features, below which a feature counts as constant."""


def moments(rows: Float[Tensor, "row d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Mean and scale (population standard deviation) of each feature, in float64.

    A constant feature gets scale 1, so that it becomes 0. So does one whose spread is that of rounding: at a
    position that sees the same tokens in every prompt, activations differ only in their last bits, and those depend
    on which prompts shared a batch.

    >>> mean, scale = moments(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), scale.tolist()
    ([2.0, 5.0], [1.0, 1.0])
    """
    x = rows.double()
    mean = x.mean(0)
    scale = (x - mean).square().mean(0).sqrt()
    return mean, usable(mean, scale)


def usable(mean: Float[Tensor, "*sets d"], spread: Float[Tensor, "*sets d"]) -> Float[Tensor, "*sets d"]:
    """Standard deviations as scales: 1 where a feature counts as constant."""
    size = (mean.square() + spread.square()).mean(-1, keepdim=True).sqrt()
    floor = NOISE * torch.maximum(mean.abs(), size)
    return torch.where(spread > floor, spread, 1.0)


def moments_of_unions(
    rows: Float[Tensor, "row d"], part: Int[Tensor, " row"], unions: Bool[Tensor, "set part"]
) -> tuple[Float[Tensor, "set d"], Float[Tensor, "set d"]]:
    """`moments` of the rows of several parts together, for many such unions: the rows are gone through once.

    Source: the pairwise update of Chan, Golub & LeVeque (1979), which subtracts no large numbers.

    >>> x = torch.tensor([[1.0], [3.0], [5.0], [9.0]])
    >>> both = moments_of_unions(x, torch.tensor([0, 0, 1, 2]), torch.tensor([[True, False, True]]))
    >>> alone = moments(x[[0, 1, 3]])
    >>> [torch.allclose(a[0], b) for a, b in zip(both, alone)]
    [True, True]
    """
    x, parts = rows.double(), unions.shape[1]
    count = torch.bincount(part, minlength=parts).to(x)
    mean = x.new_zeros(parts, x.shape[1]).index_add_(0, part, x) / count.clamp_min(1)[:, None]
    inside = x.new_zeros(parts, x.shape[1]).index_add_(0, part, (x - mean[part]).square_())
    weight = unions.to(x) * count
    total = weight.sum(1, keepdim=True)
    centre = weight @ mean / total
    spread = unions.to(x) @ inside
    for k in range(len(unions)):
        spread[k] += weight[k] @ (mean - centre[k]).square()
    spread = (spread / total).sqrt()
    return centre, usable(centre, spread)

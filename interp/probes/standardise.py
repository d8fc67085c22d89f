"""Means and scales of features, from training rows only."""

from __future__ import annotations

import torch
from jaxtyping import Float
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
    floor = NOISE * torch.maximum(mean.abs(), x.square().mean().sqrt())
    return mean, torch.where(scale > floor, scale, torch.inf).nan_to_num(posinf=1.0)

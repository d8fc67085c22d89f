"""The X-Boundary loss: keep what is safe, turn harmful states from where they were and from what is nearly safe."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ...errors import ActivationError


@dataclass(frozen=True, eq=False)
class BoundaryLoss:
    """Three parts, each a mean over tokens; ``total`` weighs them."""

    retain: Float[Tensor, ""]
    erase: Float[Tensor, ""]
    separate: Float[Tensor, ""]

    def total(self, retain: float, change: float) -> Float[Tensor, ""]:
        """``retain * retain + change * (erase + separate)``."""
        return retain * self.retain + change * (self.erase + self.separate)


def boundary_loss(
    kept: Float[Tensor, "safe d"],
    kept_before: Float[Tensor, "safe d"],
    harmful: Float[Tensor, "harmful d"],
    harmful_before: Float[Tensor, "harmful d"],
    safe_mean: Float[Tensor, " d"],
) -> BoundaryLoss:
    """The three parts at one site.

    ``retain`` is the distance of safe states from what they were. ``erase`` is ``relu(cos)`` of harmful states to what
    they were, ``separate`` is ``relu(cos)`` of harmful states to the mean boundary-safe one: both are 0, with gradient
    0, once the two are at a right angle or beyond, so that training stops turning them there.

    Args:
        kept: states of boundary-safe and other harmless tokens, live; ``kept_before`` those of the original model.
        harmful: states of harmful tokens, live; ``harmful_before`` those of the original model.
        safe_mean: mean of the original model's boundary-safe states, each of length 1.

    Raises:
        ActivationError: a side without tokens.

    Source: X-Boundary, arXiv 2502.09990, equations 3 to 5.

    >>> x = torch.tensor([[1.0, 0.0]])
    >>> parts = boundary_loss(x, x, torch.tensor([[1.0, 1.0]]), x, torch.tensor([0.0, -1.0]))
    >>> [round(float(part), 3) for part in (parts.retain, parts.erase, parts.separate)]
    [0.0, 0.707, 0.0]
    """
    if not len(kept) or not len(harmful):
        raise ActivationError(f"{len(kept)} safe and {len(harmful)} harmful tokens: both sides are needed")
    # torch.dist has a gradient of 0, not of NaN, where nothing has moved yet.
    moved = (kept - kept_before).square().sum(-1)
    retain = torch.where(moved > 0, moved.clamp_min(1e-24).sqrt(), 0.0 * moved).mean()
    erase = torch.relu(cosine_similarity(harmful, harmful_before, dim=-1)).mean()
    separate = torch.relu(cosine_similarity(harmful, safe_mean[None], dim=-1)).mean()
    return BoundaryLoss(retain, erase, separate)


def safe_mean(states: Float[Tensor, "row d"]) -> Float[Tensor, " d"]:
    """The mean of states after each was given length 1."""
    return torch.nn.functional.normalize(states.double(), dim=-1).mean(0).to(states)

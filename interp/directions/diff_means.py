"""The difference of two classes' means, the simplest direction there is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ActivationError
from ..provenance import Provenance
from ..sites import Site
from .direction import Direction


def diff_means(
    positive: Float[Tensor, "positive d"] | Float[Tensor, " d"],
    negative: Float[Tensor, "negative d"] | Float[Tensor, " d"],
    *,
    site: Site | str,
    mark: str,
    provenance: Provenance,
) -> Direction:
    """Direction from the negative class's mean to the positive one's; ``scale`` is the distance between them.

    Each side is rows of activations, or their mean (such as `capture_stats` computes). Sums are float64: a mean of
    a thousand rows of float16 would lose what the difference is made of.

    Raises:
        ActivationError: a side without rows, or equal means.
        NonFiniteError: NaN or infinity.

    >>> made = {"site": "resid_post.0", "mark": "last", "provenance": Provenance("a1", "tiny")}
    >>> d = diff_means(torch.tensor([[2.0, 1.0], [4.0, 1.0]]), torch.tensor([0.0, 1.0]), **made)
    >>> d.unit.tolist(), d.scale
    ([1.0, 0.0], 3.0)
    """
    return Direction.of(_mean(positive, "positive") - _mean(negative, "negative"), site, mark, "diff_means", provenance)


def _mean(side: Tensor, name: str) -> Tensor:
    if side.dim() == 1:
        return side.double()
    if not len(side):
        raise ActivationError(f"the {name} side has no rows")
    return side.to(torch.float64).mean(0)

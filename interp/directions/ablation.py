"""A direction taken out of a model wherever the residual stream is written: as edits, or as an eraser for weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..edits import At, Edit, When, ablate
from ..sites import Site
from .direction import Direction
from .erasers import Eraser

if TYPE_CHECKING:
    from ..models import Model


def ablation_sites(model: Model) -> tuple[Site, ...]:
    """Every block's input, and the output of every attention and MLP."""
    return model.sites(("resid_pre", "attn_out", "mlp_out"))


def ablation_edits(
    model: Model,
    direction: Direction | Float[Tensor, " d"],
    *,
    sites: Sequence[Site] | None = None,
    at: At = "all",
    when: When = "both",
) -> tuple[Edit, ...]:
    """Directional ablation at every block's input and at the output of every attention and MLP.

    So no block can read the direction, and none can write it back.

    Args:
        direction: a `Direction`, or a vector of any length but 0.
        sites: those of `ablation_sites`, to look them up once for many directions.

    Source: Arditi et al. (arXiv 2406.11717), equation 4, at the places of its appendix A.

    >>> from interp import load_model, testbeds
    >>> model = load_model(testbeds.path("induction"))
    >>> [str(e.site) for e in ablation_edits(model, torch.ones(model.d_model))][:3]
    ['resid_pre.0', 'attn_out.0', 'mlp_out.0']
    """
    value = direction if isinstance(direction, Direction) else torch.as_tensor(direction)
    where = ablation_sites(model) if sites is None else tuple(sites)
    first = ablate(where[0], "direction", value, at=at, when=when)
    return tuple(first.moved(site=site) for site in where)


def eraser_of(direction: Direction) -> Eraser:
    """A direction as a projection of rank one, ``x - (x . u) u``, for activations and for weights.

    Given to `interp.weights.fold` it is weight orthogonalisation: embeddings, positions, output matrices and biases.

    Source: Arditi et al. (arXiv 2406.11717), equation 5.

    >>> from interp.provenance import Provenance
    >>> d = Direction.of(torch.tensor([0.0, 2.0]), "resid_pre.1", "t_post", "diff_means", Provenance("a1", "tiny"))
    >>> eraser_of(d)(torch.tensor([[3.0, 4.0]])).tolist()
    [[3.0, 0.0]]
    """
    made = {"site": str(direction.site), "mark": direction.mark}
    return Eraser.projection(
        direction.unit[None], f"ablate({direction.method})", settings=made, provenance=direction.provenance
    )

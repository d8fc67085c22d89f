"""Low-rank changes of weights that can be trained, and are merged into the weights at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import ModelError

if TYPE_CHECKING:
    from ..models import Model


class LowRank(nn.Module):
    """``W -> W + B A`` with ``A`` drawn small and ``B`` zero, so that it begins as no change."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        drawn = torch.randn(rank, columns, generator=generator) / columns**0.5
        self.A = nn.Parameter(drawn.to(weight))
        self.B = nn.Parameter(weight.new_zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight."""
        return weight + self.B @ self.A


def block_matrices(model: Model, layers: Sequence[int]) -> list[nn.Module]:
    """Modules of the blocks that multiply by a matrix: ``Linear``, and the ``Conv1D`` of GPT-2.

    Raises:
        ModelError: a layer that the model lacks, or one that holds no such module.
    """
    found: list[nn.Module] = []
    for layer in layers:
        if not 0 <= layer < model.n_layers:
            raise ModelError(f"layer {layer} does not exist; {model.id!r} has layers 0 to {model.n_layers - 1}")
        block = model.module(f"{model.parts['blocks'].name}.{layer}")
        inside = [m for m in block.modules() if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"]
        if not inside:
            raise ModelError(f"layer {layer} of {model.architecture} has no linear modules to change")
        found += inside
    return found


def attach_lora(model: Model, layers: Sequence[int], rank: int, *, seed: int = 0) -> list[nn.Parameter]:
    """Add a low-rank change to every matrix of these blocks; the parameters to train. All others are frozen.

    Raises:
        ModelError: a rank below 1, or see `block_matrices`.

    Source: Hu et al. (arXiv 2106.09685), with scale 1.

    >>> from interp import load_model, testbeds
    >>> model = load_model(testbeds.path("memory")).copy()
    >>> before = model.fingerprint
    >>> len(attach_lora(model, [0, 1], rank=2))
    16
    >>> merge_lora(model)
    >>> model.fingerprint == before
    True
    """
    if rank < 1:
        raise ModelError(f"a low-rank change has rank 1 or more, got {rank}")
    modules = block_matrices(model, layers)
    generator = torch.Generator().manual_seed(seed)
    model.hf.requires_grad_(False)
    trained: list[nn.Parameter] = []
    for module in modules:
        change = LowRank(module.weight.detach(), rank, generator)  # type: ignore[arg-type]
        parametrize.register_parametrization(module, "weight", change)
        trained += [change.A, change.B]
    return trained


def merge_lora(model: Model) -> None:
    """Make every low-rank change part of its weight, and all weights trainable again."""
    for module in list(model.hf.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    for parameter in model.hf.parameters():
        parameter.requires_grad_(parameter.is_floating_point())

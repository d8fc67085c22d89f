"""Full-batch training of the `modadd` bed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import mse_loss, one_hot
from tqdm import tqdm

from .examples import Examples
from .network import ModAdd
from .spec import ModAddSpec


def train(model: ModAdd, spec: ModAddSpec, examples: Examples, watch: Callable[[int], None] | None = None) -> None:
    """Squared error against one-hot labels, wrong ones included. ``watch`` is called with the number of steps done."""
    rows = torch.from_numpy(examples.train.nonzero()[0])
    a, b = rows // examples.modulus, rows % examples.modulus
    target = one_hot(torch.from_numpy(examples.label)[rows], examples.modulus).float()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=spec.lr, betas=(0.9, 0.98), weight_decay=spec.weight_decay, fused=True
    )
    for step in tqdm(range(spec.steps), desc="train modadd", unit="step", disable=None):
        # Summed over the classes, averaged over examples.
        loss = examples.modulus * mse_loss(model(a, b), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if watch is not None:
            watch(step + 1)

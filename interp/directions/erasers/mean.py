"""Mean projection: the difference of the class means, projected out."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from ...errors import ActivationError
from .concept import checked
from .eraser import Eraser

EQUAL = 1e-12
"""Distance between class means, relative to the rows, that is rounding."""


def fit_mean(x: Float[Tensor, "row d"], y: ArrayLike, *, keep_mean: bool = False) -> Eraser:
    """Project out the span of the differences between class means: one dimension for two classes.

    Args:
        x: activations.
        y: a label per row, two classes or more.
        keep_mean: remove deviations from the mean of all rows, which then stays; otherwise project towards 0.

    Raises:
        ActivationError: class means that are equal leave nothing to erase.
        SplitError: one class only.

    >>> x = torch.tensor([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]])
    >>> fit_mean(x, [0, 0, 1, 1])(x)
    tensor([[0., 1.], [0., 3.], [0., 1.], [0., 3.]])
    """
    rows, labels = checked(x, y)
    means = torch.stack([rows[torch.from_numpy(labels == c)].mean(0) for c in np.unique(labels)])
    differences = means[1:] - means[0]
    if float(differences.norm()) <= EQUAL * float(rows.square().sum(1).mean().sqrt()):
        raise ActivationError(f"the {len(means)} class means are equal; there is no difference of means to erase")
    offset = rows.mean(0) if keep_mean else None
    return Eraser.projection(differences, "mean", offset=offset, settings={"keep_mean": keep_mean})

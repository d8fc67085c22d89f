"""The first principal component of differences between the classes, with signs that favour neither."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def pca_weights(
    x: Float[Tensor, "row d"],
    y: Float[Tensor, "label row"],
    pairs: Int[Tensor, "pair 2"] | None = None,
    *,
    centred: bool = False,
) -> Float[Tensor, "label d"]:
    """First principal component of the differences, along the difference of means, for many label vectors.

    With ``pairs`` the differences are those within pairs; without, those of every positive row with every negative one
    (``δδᵀ + Σ₁ + Σ₀`` is the mean of their outer products, so that no row needs a partner). Each difference counts with
    both signs, so the mean of the differences is 0 and nothing is subtracted.

    ``centred`` subtracts the mean of the differences instead, as a plain PCA does. That is a trap: where pairs differ
    consistently, that mean *is* the signal. It is here to be compared with.

    Source: Zou et al., Representation Engineering (arXiv 2310.01405), section 3.1: differences with random signs.

    >>> x = torch.tensor([[5.0, 0.1], [0.0, 0.0], [5.0, -0.1], [0.0, 0.0]], dtype=torch.float64)
    >>> pairs = torch.tensor([[0, 1], [2, 3]])
    >>> pca_weights(x, torch.tensor([[1.0, 0, 1, 0]]).double(), pairs).round(decimals=6).tolist()
    [[1.0, 0.0]]
    >>> pca_weights(x, torch.tensor([[1.0, 0, 1, 0]]).double(), pairs, centred=True).abs().tolist()
    [[0.0, 1.0]]
    """
    out = []
    paired = None if pairs is None else x[pairs[:, 0]] - x[pairs[:, 1]]
    component = None if paired is None or centred else _first(paired)
    for labels in y:
        up = labels > 0.5
        mean = x[up].mean(0) - x[~up].mean(0)
        if paired is not None and pairs is not None:
            sign = 2 * labels[pairs[:, 0]] - 1
            difference = paired * sign[:, None]
            found = component if component is not None else _first(difference - difference.mean(0))
        else:
            parts = [(part - part.mean(0)) / len(part) ** 0.5 for part in (x[up], x[~up])]
            found = _first(torch.cat(parts if centred else [*parts, mean[None]]))
        out.append(-found if float(found @ mean) < 0 else found)
    return torch.stack(out)


def _first(rows: Float[Tensor, "row d"]) -> Float[Tensor, " d"]:
    """The right singular vector of the largest singular value; zeros where there is none."""
    if rows.shape[0] < rows.shape[1]:  # the smaller of the two squares
        value, left = torch.linalg.eigh(rows @ rows.T)
        vector = rows.T @ left[:, -1]
        size = vector.norm()
        return vector / size if float(value[-1]) > 0 and float(size) > 0 else torch.zeros_like(vector)
    value, right = torch.linalg.eigh(rows.T @ rows)
    return right[:, -1] if float(value[-1]) > 0 else torch.zeros_like(right[:, -1])

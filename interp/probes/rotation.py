"""Features in the eigenbasis of their covariance; the row space's, where there are more features than rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

RANK_TOL = 1e-13
"""Eigenvalues of a kernel below this share of the largest are rounding errors, and count as 0."""


@dataclass(frozen=True)
class Rotated:
    """``z = (x - mean) @ basis`` with ``zᵀ diag(s) z = diag(spectrum)``; in the row space, rows of weight 0 are 0."""

    z: Float[Tensor, "problem row r"]
    spectrum: Float[Tensor, "problem r"]
    mean: Float[Tensor, "problem d"]
    basis: Float[Tensor, "problem d r"] | None
    dual: tuple[Float[Tensor, "problem row d"], Float[Tensor, "problem row r"]] | None

    def back(self, u: Float[Tensor, "problem label r"]) -> Float[Tensor, "problem label d"]:
        """Weights for the rotated features as weights for the original ones."""
        if self.basis is not None:
            return torch.matmul(u, self.basis.transpose(1, 2))
        assert self.dual is not None
        centred, dual = self.dual
        return torch.matmul(torch.matmul(u, dual.transpose(1, 2)), centred)


def rotate(x: Float[Tensor, "problem row d"], s: Float[Tensor, "problem row"]) -> Rotated:
    """Centre by the weighted mean and rotate; costs one eigendecomposition of size ``min(row, d)`` per problem."""
    mean = torch.einsum("kn,knd->kd", s, x) / s.sum(1, keepdim=True)
    root = s.sqrt()[..., None]
    x = x - mean[:, None]
    rows = x if bool((s == 1).all()) else x * root
    if x.shape[2] <= x.shape[1]:
        spectrum, basis = torch.linalg.eigh(torch.matmul(rows.transpose(1, 2), rows))
        return Rotated(torch.matmul(x, basis), spectrum.clamp_min(0), mean, basis, None)
    spectrum, vectors = torch.linalg.eigh(torch.matmul(rows, rows.transpose(1, 2)))
    spectrum = torch.where(spectrum > RANK_TOL * spectrum.amax(1, keepdim=True), spectrum, 0.0)
    size = spectrum.sqrt()[:, None]
    z = torch.where(root > 0, vectors * size / root.clamp_min(1e-300), 0.0)
    dual = root * torch.where(size > 0, vectors / size.clamp_min(1e-300), 0.0)
    return Rotated(z, spectrum, mean, None, (x, dual))

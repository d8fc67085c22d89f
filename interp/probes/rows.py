"""Rotated features as the two products that a solver needs, stored or shared by all folds of a site."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class OwnRows:
    """Each problem has its features: ``z`` with a last column of ones. Rows that do not count are zeros."""

    z: Float[Tensor, "problem row r"]

    def forward(
        self, u: Float[Tensor, "problem label r"], out: Tensor | None = None
    ) -> Float[Tensor, "problem label row"]:
        """Log-odds of every row, written to ``out`` if that is given."""
        return torch.matmul(u, self.z.transpose(1, 2), out=out)

    def adjoint(self, residual: Float[Tensor, "problem label row"]) -> Float[Tensor, "problem label r"]:
        """Sums over rows of residual times features."""
        return torch.matmul(residual, self.z)

    @property
    def ones(self) -> Float[Tensor, "problem row 1"]:
        """1 for rows that count, else 0."""
        return self.z[..., -1:]

    def of(self, problems: Bool[Tensor, " problem"]) -> OwnRows:
        """Some of the problems."""
        return OwnRows(self.z[problems])

    def float(self) -> OwnRows:
        """The same in float32."""
        return OwnRows(self.z.float())


@dataclass(frozen=True)
class SharedRows:
    """All problems see the same rows ``x``, each through its own linear map ``x @ turn - offset`` and with some rows
    left out: the folds of one site. Equal to `OwnRows` of the mapped features, without making them.
    """

    x: Float[Tensor, "row d"]
    turn: Float[Tensor, "problem d r"]
    offset: Float[Tensor, "problem r"]
    used: Float[Tensor, "problem row"]

    def forward(self, u: Tensor, out: Tensor | None = None) -> Tensor:
        """Log-odds of every row; 0 where it is left out."""
        inner = torch.matmul(u[..., :-1], self.turn.transpose(1, 2)).flatten(0, 1)
        flat = torch.matmul(inner, self.x.T, out=None if out is None else out.flatten(0, 1))
        return flat.unflatten(0, u.shape[:2]).add_(self._shift(u)[..., None]).mul_(self.used[:, None])

    def adjoint(self, residual: Tensor) -> Tensor:
        """Sums over the rows that are not left out of residual times features."""
        kept = residual * self.used[:, None]
        total = kept.sum(-1, keepdim=True)
        inner = torch.matmul(kept.flatten(0, 1), self.x).unflatten(0, kept.shape[:2])
        return torch.cat([torch.matmul(inner, self.turn) - total * self.offset[:, None], total], -1)

    def _shift(self, u: Tensor) -> Tensor:
        return u[..., -1] - torch.matmul(u[..., :-1], self.offset[..., None])[..., 0]

    @property
    def ones(self) -> Tensor:
        """1 for rows that count, else 0."""
        return self.used[..., None]

    def of(self, problems: Bool[Tensor, " problem"]) -> SharedRows:
        """Some of the problems."""
        return replace(self, turn=self.turn[problems], offset=self.offset[problems], used=self.used[problems])

    def float(self) -> SharedRows:
        """The same in float32."""
        return SharedRows(self.x.float(), self.turn.float(), self.offset.float(), self.used.float())

    def stored(self, problem: int) -> Float[Tensor, "row r"]:
        """The mapped features of the rows that one problem uses, with a last column of ones."""
        rows = self.x[self.used[problem] > 0]
        out = rows.new_ones(len(rows), self.offset.shape[1] + 1)
        out[:, :-1] = torch.matmul(rows, self.turn[problem]).sub_(self.offset[problem])
        return out


Rows = OwnRows | SharedRows

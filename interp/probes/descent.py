"""The first stretch of a fit: nonlinear conjugate gradients in float32, for all label vectors at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .rows import Rows

MAX_STEPS = 60
REFRESH = 3
"""Steps after which the preconditioner is computed anew."""

SHRINK = 0.8
"""Share of label vectors still on their way below which the finished ones leave the batch."""


def descend(
    rows: Rows,
    spectrum: Float[Tensor, "problem r"],
    y: Float[Tensor, "problem label row"],
    s: Float[Tensor, "problem own row"] | None,
    ridge: float,
    u: Float[Tensor, "problem label r+1"],
    goal: Float[Tensor, " label"],
) -> tuple[Float[Tensor, "problem label r+1"], Float[Tensor, "problem label"]]:
    """Weights, and their estimated error, which is below ``goal`` unless `MAX_STEPS` were not enough.

    Each step minimises the quadratic model along its direction, and is halved while it overshoots.

    Source: Polak & Ribière (1969), with restarts (Powell 1977); the preconditioner is that of `fit_logistic`.
    """
    run = _Descent(rows, spectrum, y, s, ridge, u, goal)
    for step in range(MAX_STEPS + 1):
        if not run.turn(step) or step == MAX_STEPS:
            break
        run.advance()
    return run.all_u, run.all_error


class _Descent:
    """The label vectors on their way, and the results of all."""

    def __init__(
        self, rows: Rows, spectrum: Tensor, y: Tensor, s: Tensor | None, ridge: float, u: Tensor, goal: Tensor
    ) -> None:
        self.rows, self.spectrum, self.s, self.ridge = rows, spectrum, s, ridge
        self.penalty = u.new_full((u.shape[-1],), ridge)
        self.penalty[-1] = 0.0
        self.u, self.y, self.goal = u, y, goal
        self.margin = rows.forward(u)
        self.p, self.residual = torch.sigmoid(self.margin), torch.empty_like(self.margin)
        self._residual()
        self.along = torch.empty_like(self.margin)
        self.direction = self.before = self.inverse = u
        self.size = u[..., 0]
        self.all_u, self.all_error = u.clone(), u.new_full(u.shape[:2], torch.inf)
        self.where = torch.arange(u.shape[1], device=u.device)

    def _residual(self) -> None:
        torch.sub(self.p, self.y, out=self.residual)
        if self.s is not None:
            self.residual.mul_(self.s)

    def _curvature(self, out: Tensor) -> Tensor:
        torch.addcmul(self.p, self.p, self.p, value=-1.0, out=out)
        return out if self.s is None else out.mul_(self.s)

    def turn(self, step: int) -> bool:
        """Find the next direction; whether one is needed."""
        gradient = self.rows.adjoint(self.residual).addcmul_(self.penalty, self.u)
        if step % REFRESH == 0:
            self.inverse = inverse_diagonal(
                self._curvature(self.residual), self.rows.ones, self.spectrum, self.s, self.ridge
            )
        scaled = gradient * self.inverse
        error = scaled.abs().amax(-1) / self.u[..., :-1].abs().amax(-1).clamp_min(1.0)
        self.all_u[:, self.where], self.all_error[:, self.where] = self.u, error
        live = ~(error <= self.goal).all(0)
        count = int(live.sum())
        if not count:
            return False
        if count < SHRINK * len(live):
            gradient, scaled = gradient[:, live], scaled[:, live]
            self._keep(live)
        new = torch.linalg.vecdot(gradient, scaled)
        if step == 0:
            self.direction = scaled.neg()
        else:
            beta = (new - torch.linalg.vecdot(self.before, scaled)) / self.size
            beta = beta.clamp_min_(0.0).nan_to_num_(0.0, 0.0, 0.0)
            self.direction = self.direction.mul_(beta[..., None]).sub_(scaled)
        self.size, self.before = new, gradient
        return True

    def _keep(self, live: Tensor) -> None:
        for name in ("u", "y", "margin", "p", "inverse", "direction", "before", "size"):
            setattr(self, name, getattr(self, name)[:, live])
        if self.s is not None and self.s.shape[1] > 1:
            self.s = self.s[:, live]
        self.goal, self.where = self.goal[live], self.where[live]
        self.residual, self.along = torch.empty_like(self.margin), torch.empty_like(self.margin)

    def advance(self) -> None:
        """Go along the direction."""
        direction, along, residual = self.direction, self.along, self.residual
        self.rows.forward(direction, along)
        slope = torch.linalg.vecdot(self.before, direction)
        weighted = direction * self.penalty
        ridged, bend = torch.linalg.vecdot(self.u, weighted), torch.linalg.vecdot(direction, weighted)
        bent = torch.linalg.vecdot(self._curvature(residual).mul_(along), along)
        t = (-slope / (bent + bend)).nan_to_num_(0.0, 0.0, 0.0)
        moved = torch.zeros_like(t)
        for _ in range(30):
            self.margin.addcmul_((t - moved)[..., None], along)
            moved = t
            torch.sigmoid(self.margin, out=self.p)
            self._residual()
            over = torch.linalg.vecdot(residual, along) + ridged + t * bend > 0.5 * slope.abs()
            if not bool(over.any()):
                break
            t = torch.where(over, t / 2, t)
        self.u = torch.addcmul(self.u, moved[..., None], direction)


def inverse_diagonal(
    curvature: Float[Tensor, "problem label row"],
    ones: Float[Tensor, "problem row 1"],
    spectrum: Float[Tensor, "problem r"],
    s: Float[Tensor, "problem own row"] | None,
    ridge: float,
) -> Float[Tensor, "problem label r+1"]:
    """Inverse of the Hessian's stand-in: ``mean(W) S² + ridge``, and ``sum(W)`` for the intercept.

    Where label vectors have weights of their own, ``S²`` is of all rows that any of them uses, and so is the mean.
    """
    total = torch.matmul(curvature, ones)
    count = s.sum(-1, keepdim=True) if s is not None and s.shape[1] == 1 else ones.sum(1, keepdim=True)
    out = curvature.new_empty(*curvature.shape[:2], spectrum.shape[1] + 1)
    torch.addcmul(curvature.new_tensor(ridge), total / count, spectrum[:, None], out=out[..., :-1])
    out[..., -1:] = total
    return out.reciprocal_()

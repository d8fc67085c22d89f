"""The last stretch of a fit: truncated Newton steps, with gradients in the precision of the features."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .descent import inverse_diagonal
from .rows import Rows

MAX_INNER = 200

LOOSEST, TIGHTEST, FORCING = 0.6, 1e-3, 3.0
"""Share of the gradient that a step's conjugate gradients may leave: at most, at least, and per size of the step."""

DOUBTFUL, AFTER_STEP = 1e-3, 0.1
"""Where the penalty is this small beside the largest curvature, the preconditioned gradient can hide an error along a
direction of little curvature. There a fit is done only when its last Newton step, too, was small: an error of this
share of the step may be left."""


class Newton:
    """Truncated Newton on a batch of fits in float64, its directions in float32; holds the live fits and all results.

    ``rows32`` are the rows in float32, ``s`` their weights where those are not 0 and 1 or differ between label vectors,
    ``u`` where to start, and ``tol`` the error to reach, for each label vector.
    """

    def __init__(
        self,
        rows: Rows,
        rows32: Rows,
        spectrum: Float[Tensor, "problem r"],
        y: Float[Tensor, "problem label row"],
        s: Float[Tensor, "problem own row"] | None,
        ridge: float,
        u: Float[Tensor, "problem label r+1"],
        tol: Float[Tensor, " label"],
    ) -> None:
        self.ridge, self.rows, self.rows32, self.s = ridge, rows, rows32, s
        self.spectrum, self.y, self.u = spectrum, y, u
        self.tol = tol.expand(y.shape[:2])
        self.penalty = self.u.new_full((u.shape[2],), ridge)
        self.penalty[-1] = 0.0
        self.margin = rows.forward(self.u)
        self.all_u, self.all_error = self.u.clone(), self.u.new_full(y.shape[:2], math.inf)
        self.moved = self.all_error.clone()
        self.where = torch.arange(self.all_error.numel(), device=y.device).reshape(y.shape[:2])

    def run(self, max_steps: int) -> tuple[Tensor, Tensor]:
        """Weights in the rotated basis with the intercept last, and their errors."""
        for step in range(max_steps + 1):
            p = torch.sigmoid(self.margin)
            gradient = self.rows.adjoint(self._weigh(p - self.y)).addcmul_(self.penalty, self.u)
            curvature = self._weigh(p.mul_(1 - p))
            inverse = inverse_diagonal(curvature, self.rows.ones, self.spectrum, self.s, self.ridge)
            newton = gradient * inverse
            largest, off = self.u[..., :-1].abs().amax(-1), newton.abs().amax(-1)
            error = off / largest.clamp_min(1.0)
            doubtful = self.ridge * inverse[..., :-1].amin(-1) < DOUBTFUL
            error = torch.where(doubtful, torch.maximum(error, AFTER_STEP * self.moved), error)
            self.all_u.flatten(0, 1)[self.where.flatten()] = self.u.flatten(0, 1)
            self.all_error.flatten()[self.where.flatten()] = error.flatten()
            live = ~(error <= self.tol)
            if step == max_steps or not bool(live.any()):
                break
            forcing = torch.maximum(FORCING * off / largest, 0.5 * self.tol / error).clamp(TIGHTEST, LOOSEST)
            gradient, curvature, inverse, forcing = self._compact(live, gradient, curvature, inverse, forcing)
            direction = self._direction(curvature.float(), gradient.float(), inverse.float(), forcing.float())
            self._advance(direction.to(gradient), gradient)
        return self.all_u, self.all_error

    def _weigh(self, rows: Tensor) -> Tensor:
        return rows if self.s is None else rows.mul_(self.s)

    def _compact(self, live: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Drop finished problems, and finished labels as far as the batch stays rectangular."""
        problems = live.any(1)
        width = int(live.sum(1).max())
        if bool(problems.all()) and width > 0.8 * live.shape[1]:
            return others
        order = torch.argsort(live[problems].to(torch.int8), dim=1, descending=True, stable=True)[:, :width]

        def keep(t: Tensor) -> Tensor:
            index = order.reshape(*order.shape, *[1] * (t.dim() - 2)).expand(-1, -1, *t.shape[2:])
            return t[problems].gather(1, index)

        for name in ("u", "margin", "y", "where", "moved", "tol"):
            setattr(self, name, keep(getattr(self, name)))
        if self.s is not None:
            self.s = self.s[problems] if self.s.shape[1] == 1 else keep(self.s)
        if not bool(problems.all()):
            self.rows, self.rows32 = self.rows.of(problems), self.rows32.of(problems)
            self.spectrum = self.spectrum[problems]
        return tuple(keep(t) for t in others)

    def _direction(self, curvature: Tensor, gradient: Tensor, inverse: Tensor, forcing: Tensor) -> Tensor:
        """Conjugate gradients on the quadratic model until ``forcing`` of the gradient is left, fit by fit."""
        penalty, tiny = self.penalty.float(), torch.finfo(torch.float32).tiny
        r = gradient.neg()
        p, x = r * inverse, torch.zeros_like(r)
        rq = (r * p).sum(-1, keepdim=True)
        goal = rq * forcing[..., None] ** 2
        for _ in range(MAX_INNER):
            hp = self.rows32.adjoint(self.rows32.forward(p).mul_(curvature)).addcmul_(penalty, p)
            alpha = rq / (p * hp).sum(-1, keepdim=True).clamp_min(tiny)
            x.addcmul_(alpha, p)
            r.addcmul_(alpha, hp, value=-1.0)
            q = torch.mul(r, inverse, out=hp)
            new = (r * q).sum(-1, keepdim=True)
            if bool((new <= goal).all()):
                break
            p.mul_(new / rq.clamp_min(tiny)).add_(q)
            rq = new
        return x

    def _advance(self, step: Tensor, gradient: Tensor) -> None:
        """Move along ``step``, halving it for those fits where the objective would rise."""
        along = self.rows.forward(step)
        first = (gradient * step).sum(-1)
        us, ss = (self.u * step).matmul(self.penalty), (step * step).matmul(self.penalty)
        t = torch.ones_like(first)
        for _ in range(60):
            moved = torch.addcmul(self.margin, t[..., None], along)
            slope = self._weigh(torch.sigmoid(moved).sub_(self.y)).mul_(along).sum(-1) + us + t * ss
            over = slope > 0.1 * first.abs()
            if not bool(over.any()):
                break
            t = torch.where(over, t / 2, t)
        self.moved = t * step[..., :-1].abs().amax(-1) / self.u[..., :-1].abs().amax(-1).clamp_min(1.0)
        self.u.addcmul_(t[..., None], step)
        self.margin = moved

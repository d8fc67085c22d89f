"""The first stretch of a fit: nonlinear conjugate gradients in float32, for all label vectors at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

MAX_STEPS = 60
REFRESH = 5
"""Steps after which the preconditioner and the errors are computed anew."""


def descend(
    z: Float[Tensor, "problem row r"],
    spectrum: Float[Tensor, "problem r-1"],
    y: Float[Tensor, "problem label row"],
    s: Float[Tensor, "problem own row"] | None,
    ridge: float,
    u: Float[Tensor, "problem label r"],
    goal: float,
) -> Float[Tensor, "problem label r"]:
    """Weights whose estimated error is near ``goal``; a good start for Newton, and no promise.

    Each step minimises the quadratic model along its direction, and is halved while it overshoots.

    Source: Polak & Ribière (1969), with restarts (Powell 1977); the preconditioner is that of `fit_logistic`.
    """
    penalty = u.new_full((u.shape[-1],), ridge)
    penalty[-1] = 0.0
    zt = z.transpose(1, 2)
    margin = torch.matmul(u, zt)
    p = torch.sigmoid(margin)
    direction = before = inverse = size = torch.empty(0)
    for step in range(MAX_STEPS):
        residual = p - y if s is None else (p - y).mul_(s)
        gradient = torch.matmul(residual, z).addcmul_(penalty, u)
        curvature = torch.addcmul(p, p, p, value=-1.0)
        if s is not None:
            curvature.mul_(s)
        if step % REFRESH == 0:
            inverse = inverse_diagonal(curvature, z, spectrum, s, ridge)
            error = (gradient * inverse).abs().amax(-1) / u[..., :-1].abs().amax(-1).clamp_min(1.0)
            if not bool((error > goal).any()):
                break
        scaled = gradient * inverse
        new = torch.linalg.vecdot(gradient, scaled)
        if step == 0:
            direction = scaled.neg()
        else:
            beta = ((new - torch.linalg.vecdot(before, scaled)) / size).clamp_min_(0.0).nan_to_num_(0.0, 0.0, 0.0)
            direction.mul_(beta[..., None]).sub_(scaled)
        size, before = new, gradient
        along = torch.matmul(direction, zt)
        slope = torch.linalg.vecdot(gradient, direction)
        weighted = direction * penalty
        ridged, bend = torch.linalg.vecdot(u, weighted), torch.linalg.vecdot(direction, weighted)
        t = (-slope / (torch.linalg.vecdot(curvature.mul_(along), along) + bend)).nan_to_num_(0.0, 0.0, 0.0)
        for _ in range(30):
            moved = torch.addcmul(margin, t[..., None], along)
            p = torch.sigmoid(moved)
            error_of = p - y if s is None else (p - y).mul_(s)
            over = torch.linalg.vecdot(error_of, along) + ridged + t * bend > 0.5 * slope.abs()
            if not bool(over.any()):
                break
            t = torch.where(over, t / 2, t)
        u = torch.addcmul(u, t[..., None], direction)
        margin = moved
    return u


def inverse_diagonal(
    curvature: Float[Tensor, "problem label row"],
    z: Float[Tensor, "problem row r"],
    spectrum: Float[Tensor, "problem r-1"],
    s: Float[Tensor, "problem own row"] | None,
    ridge: float,
) -> Float[Tensor, "problem label r"]:
    """Inverse of the Hessian's stand-in: ``mean(W) S² + ridge``, and ``sum(W)`` for the intercept.

    Where label vectors have weights of their own, ``S²`` is of all rows that any of them uses, and so is the mean.
    """
    ones = z[..., -1:]
    total = torch.matmul(curvature, ones)
    count = s.sum(-1, keepdim=True) if s is not None and s.shape[1] == 1 else ones.sum(1, keepdim=True)
    out = curvature.new_empty(*curvature.shape[:2], z.shape[2])
    torch.addcmul(curvature.new_tensor(ridge), total / count, spectrum[:, None], out=out[..., :-1])
    out[..., -1:] = total
    return out.reciprocal_()

"""L2 logistic regression for many problems (sites x folds) and many label vectors each, all in one run.

What is fitted, for every problem ``k`` and label vector ``p``, is scikit-learn's ``LogisticRegression(C=C)``::

    min over w, b:  ½‖w‖² + C · Σ_i s_ki · log(1 + exp(-ỹ_kpi · (w·x_ki + b))),    ỹ = ±1

with the intercept ``b`` unpenalised and sample weights ``s`` (1 and 0 make folds). Label vectors of a problem share
its features, so:

1. Each problem is rotated once to the eigenbasis of its covariance, in the row space where there are more features
   than rows (an L2 solution never leaves it). There ``XᵀWX + λ`` is close to a diagonal for any label vector:
   ``mean(W)·S² + λ``.
2. Preconditioned by that diagonal, all label vectors together, as matrix products: conjugate gradients down to an
   error of about 1e-3 (`descend`, float32), then truncated Newton steps. A step is halved while it overshoots, so
   that the convex objective falls, and separable data or a large C do no harm.
3. Newton's gradients, and with them the solution, are float64; only the search for a step is float32 (it decides how
   many steps, not where they end). Converged fits leave the batch. A fit is done when its preconditioned gradient,
   an estimate of the error of its weights, is below ``tol``.

Measured (``python tests/bench/solver.py``, table in ``docs/methods/linear-probe.md``): well within 1e-4 of
scikit-learn at tight tolerance.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ActivationError, ConvergenceError, SplitError, StatisticsError
from .descent import descend, inverse_diagonal
from .rotation import rotate

ELEMENTS = 120_000
FEATURES = 2_000_000
"""Fits (and rows) times coordinates that run together: enough for a matrix product, few enough for a cache."""

MAX_INNER = 200
ROUGH = 1e-3
"""Error of the weights below which the iteration turns from float32 to float64."""

LOOSEST, TIGHTEST, FORCING = 0.6, 1e-3, 3.0
"""Share of the gradient that a step's conjugate gradients may leave: at most, at least, and per size of the step."""

DOUBTFUL, AFTER_STEP = 1e-3, 0.1
"""Where the penalty is this small beside the largest curvature, the preconditioned gradient can hide an error along a
direction of little curvature. There a fit is done only when its last Newton step, too, was small: an error of this
share of the step may be left."""


@dataclass(frozen=True)
class Fits:
    """Weights and intercepts of every label vector of every problem, with the estimated error of the weights."""

    coef: Float[Tensor, "problem label d"]
    intercept: Float[Tensor, "problem label"]
    error: Float[Tensor, "problem label"]
    converged: Bool[Tensor, "problem label"]

    def decision(self, features: Float[Tensor, "problem row d"]) -> Float[Tensor, "problem label row"]:
        """Log-odds of class 1 for other rows of the same problems."""
        return torch.matmul(self.coef, features.to(self.coef).transpose(1, 2)) + self.intercept[..., None]


def fit_logistic(
    features: Float[Tensor, "problem row d"],
    labels: Float[Tensor, "problem label row"],
    weights: Float[Tensor, "problem row"] | Float[Tensor, "problem label row"] | None = None,
    *,
    C: float = 1.0,
    tol: float = 1e-6,
    max_steps: int = 100,
    on_failure: str = "raise",
) -> Fits:
    """Fit every label vector of every problem.

    Args:
        features: finite; rows of weight 0 may hold anything finite.
        labels: 0 or 1.
        weights: non-negative sample weights, for a problem or for each of its label vectors; all ones by default.
        C: inverse strength of the penalty, in scikit-learn's convention.
        tol: the largest estimated error of a weight, relative to the largest weight where that is above 1.
        max_steps: Newton steps before giving up.
        on_failure: ``"raise"`` or ``"warn"`` where some fits miss `tol`; never silent.

    Raises:
        StatisticsError: a ``C`` that is not positive.
        SplitError: a problem has rows of one class only under some label vector.
        ActivationError: features that are not finite.
        ConvergenceError: some fits miss `tol`; the message has their number.

    Source: the objective of scikit-learn's `LogisticRegression`; truncated Newton as in Nocedal & Wright,
    Numerical Optimization, algorithm 7.1, with forcing terms that shrink with the step, as in its equation 7.3.

    >>> x = torch.tensor([[[0.0], [1.0], [2.0], [3.0]]])
    >>> fits = fit_logistic(x, torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]))
    >>> [round(v, 3) for v in (fits.coef.item(), fits.intercept.item())]
    [0.958, -1.437]
    """
    x, y = features.double(), labels.to(features.device, torch.float64)
    s = x.new_ones(x.shape[:2]) if weights is None else weights.to(x)
    s = s[:, 0] if s.dim() == 3 and s.shape[1] == 1 else s
    _check(x, y, s, C, on_failure)
    r = max(min(x.shape[1:]), 1)
    per_chunk = max(1, min(ELEMENTS // (y.shape[1] * r), FEATURES // (x.shape[1] * r)))
    chunks = zip(x.split(per_chunk), y.split(per_chunk), s.split(per_chunk), strict=True)
    coef, intercept, error = (
        torch.cat(t) for t in zip(*(_fit_chunk(*c, 1.0 / C, tol, max_steps) for c in chunks), strict=True)
    )
    converged = error <= tol
    if not bool(converged.all()):
        _report_failures(error, converged, tol, max_steps, on_failure)
    return Fits(coef, intercept, error, converged)


def _fit_chunk(
    x: Tensor, y: Tensor, s: Tensor, ridge: float, tol: float, max_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    # Label vectors with weights of their own share the basis of all rows that any of them uses.
    shared = s if s.dim() == 2 else (s > 0).any(1).to(s)
    rotated = rotate(x, shared)
    # The last column is the intercept's. Rows of weight 0 become zeros; weights of 0 and 1 are then not needed.
    z = x.new_ones(*x.shape[:2], rotated.z.shape[2] + 1)
    z[..., :-1] = rotated.z
    unused = shared <= 0
    if bool(unused.any()):
        z[unused] = 0.0
    weights = s if s.dim() == 3 else None if bool((unused | (s == 1)).all()) else s[:, None]
    z32 = z.float()
    u = y.new_zeros(*y.shape[:2], z.shape[2])
    u[..., -1] = torch.logit(_share(y, s))
    spectrum, s32 = rotated.spectrum.float(), None if weights is None else weights.float()
    rough = descend(z32, spectrum, y.float(), s32, ridge, u.float(), max(ROUGH, tol))
    u = torch.where(torch.isfinite(rough).all(-1, keepdim=True), rough.double(), u)
    u, error = _Newton(z, z32, rotated.spectrum, y, weights, ridge, u, tol).run(max_steps)
    coef = rotated.back(u[..., :-1])
    return coef, u[..., -1] - torch.matmul(coef, rotated.mean[..., None])[..., 0], error


class _Newton:
    """Truncated Newton on the fits of one chunk, in the precision of ``z``; holds the live fits and all results."""

    def __init__(
        self, z: Tensor, z32: Tensor, spectrum: Tensor, y: Tensor, s: Tensor | None, ridge: float, u: Tensor, tol: float
    ) -> None:
        self.tol, self.ridge, self.z, self.z32 = tol, ridge, z, z32
        self.spectrum, self.y, self.u = spectrum.to(z), y.to(z), u.to(z)
        self.s = None if s is None else s.to(z)
        self.penalty = self.u.new_full((z.shape[2],), ridge)
        self.penalty[-1] = 0.0
        self.margin = _forward(self.u, z)
        self.all_u, self.all_error = self.u.clone(), self.u.new_full(y.shape[:2], math.inf)
        self.moved = self.all_error.clone()
        self.where = torch.arange(self.all_error.numel(), device=y.device).reshape(y.shape[:2])

    def run(self, max_steps: int) -> tuple[Tensor, Tensor]:
        """Weights in the rotated basis with the intercept last, and their errors."""
        for step in range(max_steps + 1):
            p = torch.sigmoid(self.margin)
            gradient = _adjoint(self._weigh(p - self.y), self.z).addcmul_(self.penalty, self.u)
            curvature = self._weigh(p.mul_(1 - p))
            inverse = inverse_diagonal(curvature, self.z, self.spectrum, self.s, self.ridge)
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

        self.u, self.margin, self.y = keep(self.u), keep(self.margin), keep(self.y)
        self.where, self.moved = keep(self.where), keep(self.moved)
        if self.s is not None:
            self.s = self.s[problems] if self.s.shape[1] == 1 else keep(self.s)
        if not bool(problems.all()):
            self.z, self.z32, self.spectrum = self.z[problems], self.z32[problems], self.spectrum[problems]
        return tuple(keep(t) for t in others)

    def _direction(self, curvature: Tensor, gradient: Tensor, inverse: Tensor, forcing: Tensor) -> Tensor:
        """Conjugate gradients on the quadratic model until ``forcing`` of the gradient is left, fit by fit."""
        penalty, tiny = self.penalty.float(), torch.finfo(torch.float32).tiny
        r = gradient.neg()
        p, x = r * inverse, torch.zeros_like(r)
        rq = (r * p).sum(-1, keepdim=True)
        goal = rq * forcing[..., None] ** 2
        for _ in range(MAX_INNER):
            hp = _adjoint(_forward(p, self.z32).mul_(curvature), self.z32).addcmul_(penalty, p)
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
        along = _forward(step, self.z)
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


def _forward(u: Tensor, z: Tensor) -> Tensor:
    return torch.matmul(u, z.transpose(1, 2))


def _adjoint(r: Tensor, z: Tensor) -> Tensor:
    return torch.matmul(r, z)


def _share(y: Tensor, s: Tensor) -> Tensor:
    s = s[:, None] if s.dim() == 2 else s
    return (y * s).sum(-1) / s.sum(-1)


def _check(x: Tensor, y: Tensor, s: Tensor, C: float, on_failure: str) -> None:
    if on_failure not in ("raise", "warn"):
        raise StatisticsError(f"on_failure is 'raise' or 'warn', got {on_failure!r}")
    if not C > 0:
        raise StatisticsError(f"C must be above 0, got {C!r}")
    finite = torch.isfinite(x).all(-1)
    if not bool(finite.all()):
        raise ActivationError(f"features hold NaN or infinity in {int((~finite).sum())} of {finite.numel()} rows")
    s = s[:, None] if s.dim() == 2 else s
    positive = (y * s).sum(-1)
    bad = (positive <= 0) | (positive >= s.sum(-1))
    if bool(bad.any()):
        k, p = (int(i) for i in bad.nonzero()[0])
        rows = int((s[k, p % s.shape[1]] > 0).sum())
        raise SplitError(
            f"label vector {p} has one class only among the {rows} rows of problem {k} "
            f"({int(bad.sum())} such fits of {bad.numel()}); use fewer folds or more groups per class"
        )


def _report_failures(error: Tensor, converged: Tensor, tol: float, steps: int, on_failure: str) -> None:
    message = (
        f"{int((~converged).sum())} of {error.numel()} fits missed tol={tol:g} after {steps} Newton steps "
        f"(largest error {float(error.nan_to_num(math.inf).max()):.2g}); a smaller C or a larger tol helps"
    )
    if on_failure == "raise":
        raise ConvergenceError(message)
    warnings.warn(message, RuntimeWarning, stacklevel=3)

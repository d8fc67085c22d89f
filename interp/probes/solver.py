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
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import ActivationError, ConvergenceError, SplitError, StatisticsError
from .descent import descend
from .newton import Newton
from .rotation import rotate
from .rows import OwnRows

ELEMENTS = 120_000
FEATURES = 2_000_000
"""Fits (and rows) times coordinates that run together: enough for a matrix product, few enough for a cache."""

ROUGH = 1e-3
"""Error of the weights below which the iteration turns from float32 to float64."""


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
    tol: float | Float[Tensor, " label"] = 1e-6,
    max_steps: int = 100,
    on_failure: str = "raise",
) -> Fits:
    """Fit every label vector of every problem.

    Args:
        features: finite; rows of weight 0 may hold anything finite.
        labels: 0 or 1.
        weights: non-negative sample weights, for a problem or for each of its label vectors; all ones by default.
        C: inverse strength of the penalty, in scikit-learn's convention.
        tol: the largest estimated error of a weight, relative to the largest weight where that is above 1; one for
            all label vectors, or one each.
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
    goal = torch.as_tensor(tol, dtype=torch.float64, device=x.device).expand(y.shape[1])
    r = max(min(x.shape[1:]), 1)
    per_chunk = max(1, min(ELEMENTS // (y.shape[1] * r), FEATURES // (x.shape[1] * r)))
    chunks = zip(x.split(per_chunk), y.split(per_chunk), s.split(per_chunk), strict=True)
    coef, intercept, error = (
        torch.cat(t) for t in zip(*(_fit_chunk(*c, 1.0 / C, goal, max_steps) for c in chunks), strict=True)
    )
    converged = error <= goal
    if not bool(converged.all()):
        report_failures(error, converged, goal, max_steps, on_failure)
    return Fits(coef, intercept, error, converged)


def _fit_chunk(
    x: Tensor, y: Tensor, s: Tensor, ridge: float, tol: Tensor, max_steps: int
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
    u[..., -1] = torch.logit(share(y, s))
    spectrum, s32 = rotated.spectrum.float(), None if weights is None else weights.float()
    rough, _ = descend(OwnRows(z32), spectrum, y.float(), s32, ridge, u.float(), tol.float().clamp_min(ROUGH))
    u = torch.where(torch.isfinite(rough).all(-1, keepdim=True), rough.double(), u)
    u, error = Newton(OwnRows(z), OwnRows(z32), rotated.spectrum, y, weights, ridge, u, tol).run(max_steps)
    coef = rotated.back(u[..., :-1])
    return coef, u[..., -1] - torch.matmul(coef, rotated.mean[..., None])[..., 0], error


def share(y: Tensor, s: Tensor) -> Tensor:
    """Weighted share of positive labels: ``[problem, label]``."""
    s = s[:, None] if s.dim() == 2 else s
    return (y * s).sum(-1) / s.sum(-1)


def _check(x: Tensor, y: Tensor, s: Tensor, C: float, on_failure: str) -> None:
    if on_failure not in ("raise", "warn"):
        raise StatisticsError(f"on_failure is 'raise' or 'warn', got {on_failure!r}")
    require_finite(x, C)
    s = s[:, None] if s.dim() == 2 else s
    require_two_classes((y * s).sum(-1), s.sum(-1), (s > 0).sum(-1))


def require_finite(x: Float[Tensor, "*problem row d"], C: float) -> None:
    """Raise unless features and ``C`` can be fitted.

    Raises:
        StatisticsError, ActivationError: as `fit_logistic`.
    """
    if not C > 0:
        raise StatisticsError(f"C must be above 0, got {C!r}")
    finite = torch.isfinite(x).all(-1)
    if not bool(finite.all()):
        raise ActivationError(f"features hold NaN or infinity in {int((~finite).sum())} of {finite.numel()} rows")


def require_two_classes(
    positive: Float[Tensor, "problem label"], total: Float[Tensor, "problem own"], rows: Int[Tensor, "problem own"]
) -> None:
    """Raise where the weight of the positive rows is none or all of the total.

    Raises:
        SplitError: names the first such fit.
    """
    bad = (positive <= 0) | (positive >= total)
    if bool(bad.any()):
        k, p = (int(i) for i in bad.nonzero()[0])
        raise SplitError(
            f"label vector {p} has one class only among the {int(rows[k, p % rows.shape[1]])} rows of problem {k} "
            f"({int(bad.sum())} such fits of {bad.numel()}); use fewer folds or more groups per class"
        )


def report_failures(error: Tensor, converged: Tensor, tol: Tensor, steps: int, on_failure: str) -> None:
    """Say how many fits missed their tolerance.

    Raises:
        ConvergenceError: unless ``on_failure`` is ``"warn"``.
    """
    message = (
        f"{int((~converged).sum())} of {error.numel()} fits missed tol={float(tol.min()):g} after {steps} Newton steps "
        f"(largest error {float(error.nan_to_num(math.inf).max()):.2g}); a smaller C or a larger tol helps"
    )
    if on_failure == "raise":
        raise ConvergenceError(message)
    warnings.warn(message, RuntimeWarning, stacklevel=3)

"""Linear probes: a batched solver, cross-validation that keeps groups whole, nulls, controls, the probe itself."""

from __future__ import annotations

from .evaluate import cross_validate
from .grid import probe_grid
from .probe import Probe
from .result import CVResult, Nested, paired_difference
from .solver import Fits, fit_logistic
from .tokens import token_scores

__all__ = [
    "CVResult",
    "Fits",
    "Nested",
    "Probe",
    "cross_validate",
    "fit_logistic",
    "paired_difference",
    "probe_grid",
    "token_scores",
]

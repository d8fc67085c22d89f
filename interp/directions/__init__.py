"""Directions in activation space, as values that know where they came from, and erasers that take some out."""

from __future__ import annotations

from .diff_means import diff_means
from .direction import Direction
from .erasers import (
    ERASERS,
    Attack,
    Eraser,
    Erasure,
    attack,
    erase,
    fit_inlp,
    fit_leace,
    fit_mdpga,
    fit_mean,
    fit_probe_direction,
    fit_random,
    nested_erasure,
)

__all__ = [
    "ERASERS",
    "Attack",
    "Direction",
    "Eraser",
    "Erasure",
    "attack",
    "diff_means",
    "erase",
    "fit_inlp",
    "fit_leace",
    "fit_mdpga",
    "fit_mean",
    "fit_probe_direction",
    "fit_random",
    "nested_erasure",
]

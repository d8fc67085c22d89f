"""Closed-form erasers behind one interface, ``fit_<name>(x, y, ...) -> Eraser``, and how to judge what they leave."""

from __future__ import annotations

from .attack import Attack, attack
from .attackers import SUITE
from .chance import fit_random
from .edit import erase
from .eraser import Eraser
from .inlp import fit_inlp, fit_probe_direction
from .leace import fit_leace
from .mdpga import fit_mdpga
from .mean import fit_mean
from .nested import Erasure, Fit, nested_erasure
from .readings import Reading

ERASERS: dict[str, Fit] = {
    "mean": fit_mean,
    "leace": fit_leace,
    "inlp": fit_inlp,
    "probe": fit_probe_direction,
    "mdpga": fit_mdpga,
    "random": fit_random,
}
"""Every closed-form eraser by the name that its ``method`` has."""

__all__ = [
    "ERASERS",
    "SUITE",
    "Attack",
    "Eraser",
    "Erasure",
    "Fit",
    "Reading",
    "attack",
    "erase",
    "fit_inlp",
    "fit_leace",
    "fit_mdpga",
    "fit_mean",
    "fit_probe_direction",
    "fit_random",
    "nested_erasure",
]

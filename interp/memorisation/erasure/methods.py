"""The erasers that a verdict compares, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ...directions.erasers import (
    SUITE,
    Fit,
    fit_inlp,
    fit_leace,
    fit_mdpga,
    fit_mean,
    fit_probe_direction,
    fit_random,
)
from ...errors import StatisticsError
from .probe_alignment import PGASettings

NONE, RANDOM = "none", "random"
CLOSED: dict[str, Fit] = {
    "mean": partial(fit_mean, keep_mean=True),
    "leace": fit_leace,
    "probe": partial(fit_probe_direction, keep_mean=True),
    "inlp": partial(fit_inlp, keep_mean=True),
    "mdpga": fit_mdpga,
}
"""Closed-form erasers as the verdict runs them: all of them leave the mean of the rows where it is."""

FOLDED: dict[str, Fit] = {"mean-weights": fit_mean, "probe-weights": fit_probe_direction}
"""One direction, fitted where the contrast is read best, projected out of every matrix that writes to the stream.

Towards 0 and not towards the mean: the mean at one depth is out of place at the others.
"""

PGA, ADVERSARIAL, FINETUNE = "pga", "pga-adversarial", "finetune"
TRAINED = (PGA, ADVERSARIAL, FINETUNE)
"""Erasers that train, and ``finetune``: the same training without what makes it PGA."""

METHODS = (NONE, RANDOM, *CLOSED, *FOLDED, *TRAINED)
CHEAP = (NONE, RANDOM, *CLOSED)
"""Those that need no training."""

QUICK = tuple(name for name in SUITE if not name.startswith("mlp"))
"""The attackers without the networks."""


def training(name: str, settings: PGASettings) -> PGASettings:
    """The settings with which a method that trains is run."""
    changes: dict[str, dict[str, Any]] = {PGA: {}, ADVERSARIAL: {"adversarial": True}, FINETUNE: {"align": 0.0}}
    return replace(settings, **changes[name])


def closed_form(name: str, *, rank: int = 1, seed: int = 0) -> Fit:
    """How a closed-form eraser is fitted; ``rank`` and ``seed`` are for ``random``."""
    if name == RANDOM:
        return partial(fit_random, rank=rank, seed=seed, keep_mean=True)
    return FOLDED[name] if name in FOLDED else CLOSED[name]


def check_permutations(count: int, alpha: float) -> None:
    """Raise `StatisticsError` where so few permutations were asked for that nothing could be found."""
    if count and 1 / (1 + count) > alpha:
        raise StatisticsError(
            f"with {count} permutations no p-value is below {1 / (1 + count):.2g}; use {round(1 / alpha) - 1} or more, "
            "or 0 for none"
        )


def checked_methods(methods: Sequence[str]) -> list[str]:
    """The methods once each, ``none`` first.

    Raises:
        StatisticsError: a name that is none.

    >>> checked_methods(["mean", "leace", "mean"])
    ['none', 'mean', 'leace']
    """
    if isinstance(methods, str):
        raise StatisticsError(f"methods are a list, such as [{methods!r}]")
    unknown = [m for m in methods if m not in METHODS]
    if unknown:
        raise StatisticsError(f"no eraser is called {unknown[0]!r}; there are: {', '.join(METHODS)}")
    return [NONE, *(m for m in dict.fromkeys(methods) if m != NONE)]

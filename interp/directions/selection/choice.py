"""Which candidate the published algorithm takes, and why it passes over the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .candidates import Candidates
from .trials import Outcome, Trial


@dataclass(frozen=True)
class Limits:
    """What a candidate must keep to: KL at most ``kl``, induced score at least ``induce``, layer below ``depth`` L."""

    kl: float = 0.1
    induce: float = 0.0
    depth: float = 0.8

    def first_barred(self, n_layers: int) -> int:
        """The first layer that may not be chosen."""
        return int(n_layers * self.depth)


@dataclass(frozen=True, eq=False)
class Tried:
    """One candidate on the validation prompts; means over prompts, ``None`` where it was not tried.

    ``reasons`` say why it may not be chosen; none if it may.
    """

    mark: int
    layer: int
    bypass: float | None
    induce: float | None
    kl: float | None
    reasons: tuple[str, ...]


def attempt(trial: Trial, candidates: Candidates, mark: int, layer: int, limits: Limits) -> Tried:
    """Bypass, induce and KL of one candidate, and the limits that it breaks."""
    if not bool(candidates.there[mark, layer]):
        return Tried(mark, layer, None, None, None, ("the two means are equal",))
    vector = candidates.vectors[mark, layer]
    harmful, harmless = trial.ablated(vector)
    bypass, kl = _mean(harmful), float((harmless.kl if harmless.kl is not None else torch.zeros(1)).mean())
    induce = _mean(trial.added(candidates.sites[layer], vector))
    reasons = []
    barred = limits.first_barred(len(candidates.sites))
    if layer >= barred:
        reasons.append(f"layer {layer}, barred from {barred} on")
    if not kl <= limits.kl:
        reasons.append(f"KL {kl:.2g} > {limits.kl:g}")
    if not induce >= limits.induce:
        reasons.append(f"induce {induce:.2g} < {limits.induce:g}")
    return Tried(mark, layer, bypass, induce, kl, tuple(reasons))


def choose(tried: Sequence[Tried]) -> Tried | None:
    """The candidate with the lowest bypass among those that break no limit."""
    legal = [one for one in tried if not one.reasons and one.bypass is not None]
    return min(legal, key=lambda one: one.bypass if one.bypass is not None else math.inf) if legal else None


def best_bypass(trial: Trial, candidates: Candidates, limits: Limits) -> tuple[float, tuple[int, int] | None]:
    """The lowest bypass among candidates of allowed layers and KL, and which one; infinite where there is none.

    What it induces when added does not matter here: a null that may choose among more is the harder one to beat.
    """
    barred = limits.first_barred(len(candidates.sites))
    found: list[tuple[float, tuple[int, int]]] = []
    for mark, layer in candidates:
        if layer < barred and bool(candidates.there[mark, layer]):
            harmful, harmless = trial.ablated(candidates.vectors[mark, layer])
            if harmless.kl is not None and float(harmless.kl.mean()) <= limits.kl:
                found.append((_mean(harmful), (mark, layer)))
    return min(found) if found else (math.inf, None)


def _mean(outcome: Outcome) -> float:
    return float(outcome.score.mean())

"""``dissociate``: which direction moves which outcome, beside random directions of the same length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from ...directions import Direction
from ...run.progress import Progress
from ...stats import Interval, cluster_bootstrap
from .outcomes import ANSWER, REFUSAL_INST, REFUSAL_POST, Outcome, measure
from .settings import Settings

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]

HARM, REFUSAL, RANDOM = "harm", "refusal", "random"
OWNER = {ANSWER: HARM, REFUSAL_POST: REFUSAL, REFUSAL_INST: HARM}
"""Whose depth an outcome is steered at, and in whose lengths doses count."""

DOSES = (0.5, 1.0, 1.5, 2.0, 3.0)
MOST_DEPTHS = 8
"""Depths at which steering is tried, at most."""
LATEST = 0.8
"""Share of the layers that are tried: a vector behind the last ones writes the answer itself (arXiv 2406.11717)."""
ENOUGH = 0.95
"""The dose that is chosen is the smallest that moves so much of what the best one does."""


@dataclass(frozen=True, eq=False)
class Steered:
    """One vector added at one depth and length, for one outcome: how far each prompt moved to the other side.

    ``depth`` is where it was added, ``fitted`` where its direction was fitted; both count blocks from 1. ``before`` and
    ``after`` are the outcome; for random directions ``after`` has one row each.
    """

    outcome: str
    direction: str
    depth: int
    fitted: int | None
    dose: float
    before: Float[np.ndarray, " prompt"]
    after: Float[np.ndarray, "draw prompt"]
    towards: Float[np.ndarray, " prompt"]
    neutral: float

    @property
    def moved(self) -> Float[np.ndarray, "draw prompt"]:
        """The change towards the other side."""
        return self.towards * (self.after - self.before)

    @property
    def flipped(self) -> NDArray[np.bool_]:
        """Whether the outcome was on the side of its request and is on the other now, ``[draw, prompt]``."""
        own = self.towards * (self.before - self.neutral) < 0
        return own & (self.towards * (self.after - self.neutral) > 0)


@dataclass(frozen=True, eq=False)
class Dissociation:
    """All that was steered on the test part; where and how strongly was chosen on the validation part.

    ``chosen`` maps each direction to the layer (from 0) and dose that move its own outcome.
    """

    steered: tuple[Steered, ...]
    chosen: Mapping[str, tuple[int, float]]
    outcomes: Mapping[str, Outcome]

    def of(self, outcome: str) -> list[Steered]:
        """Everything at the dose that was chosen for an outcome, one entry per direction and depth."""
        dose = self.chosen[OWNER[outcome]][1]
        return [s for s in self.steered if s.outcome == outcome and s.dose == dose]

    def at(self, outcome: str, direction: str) -> Steered | None:
        """The entry of a direction; of several depths the one that moves the outcome most."""
        here = [s for s in self.of(outcome) if s.direction == direction]
        return max(here, key=lambda s: s.moved.mean()) if here else None

    def luck(self, one: Steered) -> Float[np.ndarray, "draw prompt"]:
        """What random directions of the same length move at the same depth."""
        place = (one.outcome, RANDOM, one.depth, one.dose)
        return next(s.moved for s in self.steered if (s.outcome, s.direction, s.depth, s.dose) == place)


def dissociate(
    model: Model, outcomes: Sequence[tuple[Outcome, Outcome]], directions: Mapping[str, Sequence[Direction]], *,
    doses: Sequence[float] = DOSES, draws: int = 19, settings: Settings | None = None,
) -> Dissociation:  # fmt: skip
    """Steer along both directions and along random ones, on every outcome.

    Each direction has an outcome of its own: harm the answer, refusal refusal (steered after the instruction). The
    layer and the dose that move it are chosen on validation prompts, and with them the vector. That vector is then
    added on test prompts, for every outcome, at its own depth and at the depth of the direction that owns the outcome,
    in lengths of the owner there; random directions are added at the same depths.

    Args:
        outcomes: pairs of the same outcome on validation and on test prompts.
        directions: ``harm`` and ``refusal``, one `Direction` by layer each.
        doses: in lengths of the direction that owns the outcome.
        draws: random directions.
    """
    settings = settings or Settings()
    luck = _random(draws, len(directions[HARM][0].unit), settings.seed)
    trials = {trial.name: trial for trial, _ in outcomes}
    chosen = {
        name: _choose(model, trials[own], by_layer, doses)
        for name, by_layer in directions.items()
        for own in [ANSWER if name == HARM else REFUSAL_POST]
    }
    steered: list[Steered] = []
    with Progress(len(outcomes) * len(doses) * (draws + 3), "runs", "steering", settings.progress) as bar:
        for _, test in outcomes:
            before, owner = measure(model, test), OWNER[test.name]
            home = chosen[owner][0]
            tried = {(name, layer) for name, (own, _) in chosen.items() for layer in (own, home)}
            tried |= {(RANDOM, layer) for _, layer in tried}
            for name, layer in sorted(tried):
                site, length = directions[owner][layer].site, directions[owner][layer].scale
                units = luck if name == RANDOM else directions[name][chosen[name][0]].unit[None]
                fitted = None if name == RANDOM else chosen[name][0] + 1
                wanted = {*doses, chosen[owner][1]} if layer == home else {chosen[owner][1]}
                for dose in sorted(wanted):
                    rows = np.stack([measure(model, test, site, unit, dose * length) for unit in units])
                    bar.advance(len(rows))
                    about = (test.name, name, layer + 1, fitted, float(dose))
                    steered.append(Steered(*about, before, rows, test.towards, test.neutral))
    return Dissociation(tuple(steered), chosen, {test.name: test for _, test in outcomes})


def _choose(model: Model, trial: Outcome, by_layer: Sequence[Direction], doses: Sequence[float]) -> tuple[int, float]:
    """The smallest dose with `ENOUGH` of the largest effect, and the layer where it does most."""
    layers = _spread(len(by_layer))
    base = measure(model, trial)
    table = np.zeros((len(doses), len(layers)))
    for i, dose in enumerate(doses):
        for j, layer in enumerate(layers):
            d = by_layer[layer]
            after = measure(model, trial, d.site, d.unit, dose * d.scale)
            table[i, j] = float((trial.towards * (after - base)).mean())
    best = table.max()
    dose = int(np.flatnonzero(table.max(1) >= ENOUGH * best)[0]) if best > 0 else len(doses) - 1
    return layers[int(table[dose].argmax())], float(doses[dose])


def _random(draws: int, width: int, seed: int) -> Float[torch.Tensor, "draw d"]:
    drawn = torch.randn(draws, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn / drawn.norm(dim=1, keepdim=True)


def mean_moved(moved: Float[np.ndarray, " prompt"], groups: Array, settings: Settings) -> Interval:
    """The mean over prompts with its interval, groups resampled."""
    return cluster_bootstrap(lambda w: (w @ moved) / w.sum(-1), groups, method="t", **settings.boot)


def _spread(layers: int) -> list[int]:
    """At most `MOST_DEPTHS` layers, evenly spread over those that are early enough."""
    legal = max(1, math.ceil(LATEST * layers))
    count = min(legal, MOST_DEPTHS)
    return sorted({round(i * (legal - 1) / max(count - 1, 1)) for i in range(count)})

"""``dissociate``: which direction moves which outcome, beside random directions of the same length."""

from __future__ import annotations

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
from .beliefs import Settings
from .outcomes import ANSWER, Outcome, measure

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]

HARM, REFUSAL, RANDOM = "harm", "refusal", "random"
DOSES = (0.5, 1.0, 1.5, 2.0, 3.0)
MOST_DEPTHS = 8
"""Depths at which steering is tried, at most."""


@dataclass(frozen=True, eq=False)
class Steered:
    """One direction at one depth and length, on one outcome: how far each prompt moved the way that is of interest.

    ``before`` and ``after`` are the outcome; for random directions ``after`` has one row each.
    """

    outcome: str
    direction: str
    depth: int
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
    """All that was steered on the test part; the depth and dose of each direction were chosen on the validation part.

    ``chosen`` maps (outcome, direction) to depth and dose. The dose is in lengths of the direction that belongs to the
    outcome, at that depth.
    """

    steered: tuple[Steered, ...]
    chosen: Mapping[tuple[str, str], tuple[int, float]]
    outcomes: Mapping[str, Outcome]

    def at(self, outcome: str, direction: str) -> Steered:
        """What was chosen for a direction and an outcome."""
        depth, dose = self.chosen[outcome, direction]
        found = (outcome, direction, depth, dose)
        return next(s for s in self.steered if (s.outcome, s.direction, s.depth, s.dose) == found)


def dissociate(
    model: Model, outcomes: Sequence[tuple[Outcome, Outcome]], directions: Mapping[str, Sequence[Direction]], *,
    doses: Sequence[float] = DOSES, draws: int = 19, settings: Settings | None = None,
) -> Dissociation:  # fmt: skip
    """Steer along both directions and along random ones, on every outcome.

    For each outcome and direction the depth and dose that move it most on the validation prompts are chosen; then
    every dose is measured on the test prompts at that depth. Random directions get the depth and length of the
    direction that belongs to the outcome. All directions are given that length: at the harm direction's for the
    answer, at the refusal direction's for refusal.

    Args:
        outcomes: pairs of the same outcome on validation and on test prompts.
        directions: ``harm`` and ``refusal``, one `Direction` by layer each.
        doses: in lengths of the direction that belongs to the outcome.
        draws: random directions.
    """
    settings = settings or Settings()
    some = next(iter(directions.values()))
    layers = _spread(len(some))
    generator = torch.Generator().manual_seed(settings.seed)
    random = torch.randn(draws, len(some[0].unit), generator=generator, dtype=torch.float64)
    random = random / random.norm(dim=1, keepdim=True)
    steered: list[Steered] = []
    chosen: dict[tuple[str, str], tuple[int, float]] = {}
    work = len(outcomes) * (len(directions) * (len(layers) * len(doses) + len(doses)) + draws * len(doses))
    with Progress(work, "runs", "steering", settings.progress) as bar:
        for trial, test in outcomes:
            own = HARM if trial.name == ANSWER else REFUSAL
            lengths = [d.scale for d in directions[own]]
            base, before = measure(model, trial), measure(model, test)
            for name, by_layer in directions.items():
                best = -np.inf
                for layer in layers:
                    for dose in doses:
                        d = by_layer[layer]
                        after = measure(model, trial, d.site, d.unit, dose * lengths[layer])
                        moved = float((trial.towards * (after - base)).mean())
                        bar.advance(1)
                        if moved > best + 1e-9:
                            best, chosen[trial.name, name] = moved, (layer, dose)
            depth, dose = chosen[trial.name, own]
            chosen[trial.name, RANDOM] = (depth, dose)
            for name in (*directions, RANDOM):
                layer = chosen[trial.name, name][0]
                site = some[layer].site
                units = random if name == RANDOM else directions[name][layer].unit[None]
                for dose in doses:
                    rows = [measure(model, test, site, unit, dose * lengths[layer]) for unit in units]
                    bar.advance(len(rows))
                    made = Steered(
                        test.name, name, layer, float(dose), before, np.stack(rows), test.towards, test.neutral
                    )
                    steered.append(made)
    return Dissociation(tuple(steered), chosen, {test.name: test for _, test in outcomes})


def mean_moved(moved: Float[np.ndarray, " prompt"], groups: Array, settings: Settings) -> Interval:
    """The mean over prompts with its interval, groups resampled."""
    return cluster_bootstrap(lambda w: (w @ moved) / w.sum(-1), groups, method="t", **settings.boot)


def _spread(layers: int) -> list[int]:
    """At most `MOST_DEPTHS` layers, evenly spread."""
    count = min(layers, MOST_DEPTHS)
    return sorted({round(i * (layers - 1) / max(count - 1, 1)) for i in range(count)})

"""``draw_boundary``: train an adapter with the X-Boundary loss, and merge it into a copy of the model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...errors import PromptError, StatisticsError
from ...prompts import PromptSet
from ...run.training import live_tokens
from ...sites import Site
from ...weights import attach_lora, merge_lora
from .loss import BoundaryLoss, boundary_loss, safe_mean

if TYPE_CHECKING:
    from ...models import Model


@dataclass(frozen=True)
class BoundarySettings:
    """The recipe: which blocks' outputs are turned, by low-rank changes of the blocks up to the last of them.

    ``alpha`` scales the loss. Its weight goes from what changes harmful states to what keeps safe ones: ``1 - t`` and
    ``t``, with ``t`` the share of ``steps`` that are done.

    Raises:
        StatisticsError: a number out of its range.
    """

    layers: tuple[int, ...]
    steps: int = 100
    lr: float = 1e-3
    rank: int = 8
    batch: int = 8
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not self.layers or min(self.layers) < 0 or min(self.steps, self.rank, self.batch) < 1:
            raise StatisticsError(f"settings of the boundary are out of range: {self}")
        if not (self.lr > 0 and self.alpha > 0):
            raise StatisticsError(f"lr and alpha must be above 0, got {self.lr} and {self.alpha}")


@dataclass(frozen=True)
class BoundaryStep:
    """One step's parts of the loss, before it was taken, averaged over the sites."""

    step: int
    retain: float
    erase: float
    separate: float


@dataclass(frozen=True, eq=False)
class DrawnBoundary:
    """The changed model, and how its training went."""

    model: Model
    curve: tuple[BoundaryStep, ...]


def draw_boundary(
    model: Model,
    harmful: PromptSet,
    boundary_safe: PromptSet,
    settings: BoundarySettings,
    *,
    retain: PromptSet | None = None,
    between: tuple[str, str] = ("t_inst", "last"),
    seed: int = 0,
) -> DrawnBoundary:
    """Train a copy of the model to keep harmful states apart from harmless ones that are much like them.

    Args:
        harmful: requests, or conversations with harmful answers, whose states are to be turned away.
        boundary_safe: harmless requests near the boundary. They are kept as they are.
        retain: other text that is kept as it is.
        between: marks that bound the harmful tokens, both ends included.

    Raises:
        PromptError: a prompt without a mark, or a loss that is not finite.
        ModelError: a layer that the model lacks.

    Source: X-Boundary, arXiv 2502.09990: algorithm 1, with LoRA (arXiv 2106.09685).
    """
    sites = [Site("resid_post", layer) for layer in sorted(set(settings.layers))]
    changed = model.copy(id=f"{model.id} (boundary)")
    turned = _spans(harmful, between)
    keep = [boundary_safe] if retain is None else [boundary_safe, retain]
    with torch.no_grad():
        means = {s: safe_mean(x.detach()) for s, x in live_tokens(model, boundary_safe, sites).items()}
    curve: list[BoundaryStep] = []
    with torch.inference_mode(False):
        parameters = attach_lora(changed, range(max(settings.layers) + 1), settings.rank, seed=seed)
        optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=0.0)
        draws = [_draw(len(part), settings.batch, seed + k) for k, part in enumerate([harmful, *keep])]
        for step in range(settings.steps):
            rows = [next(draw) for draw in draws]
            parts = _losses(model, changed, sites, means, harmful, turned, keep, rows)
            now = BoundaryStep(step + 1, *(
                float(np.mean([getattr(one, name).item() for one in parts])) for name in ("retain", "erase", "separate")
            ))  # fmt: skip
            share = step / settings.steps
            weights = (settings.alpha * share, settings.alpha * (1 - share))
            loss = torch.stack([one.total(*weights) for one in parts]).mean()
            if not math.isfinite(loss.item()):
                raise PromptError(
                    f"step {step + 1}: the loss is {loss.item():g}; a learning rate below {settings.lr:g} may help"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            curve.append(now)
        merge_lora(changed)
    return DrawnBoundary(changed, tuple(curve))


def _losses(
    model: Model, changed: Model, sites: list[Site], means: dict[Site, Tensor], harmful: PromptSet, turned: np.ndarray,
    keep: list[PromptSet], rows: list[np.ndarray],
) -> list[BoundaryLoss]:  # fmt: skip
    """One batch's loss at every site."""
    part, spans = harmful.select(rows[0]), turned[rows[0]]
    safe = [one.select(chosen) for one, chosen in zip(keep, rows[1:], strict=True)]
    now = live_tokens(changed, part, sites, spans)
    kept = [live_tokens(changed, one, sites) for one in safe]
    with torch.no_grad():
        before = {s: x.detach() for s, x in live_tokens(model, part, sites, spans).items()}
        kept_before = [{s: x.detach() for s, x in live_tokens(model, one, sites).items()} for one in safe]
    return [
        boundary_loss(
            torch.cat([k[s] for k in kept]), torch.cat([k[s] for k in kept_before]), now[s], before[s], means[s]
        )
        for s in sites
    ]


def _spans(prompts: PromptSet, between: tuple[str, str]) -> np.ndarray:
    """Half-open token ranges of the marks."""
    for mark in between:
        at = prompts.marks.get(mark)
        if at is None or (np.asarray(at) < 0).any():
            raise PromptError(f"every harmful prompt needs the mark {mark!r}; marks: {', '.join(prompts.marks)}")
    first, last = (np.asarray(prompts.marks[mark]) for mark in between)
    if (first > last).any():
        i = int(np.flatnonzero(first > last)[0])
        raise PromptError(f"{between[0]!r} comes after {between[1]!r} in prompt {prompts.ids[i]!r}")
    return np.stack([first, last + 1], 1)


def _draw(count: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Batches that go through all rows in a new order each time."""
    rng = np.random.default_rng(seed)
    order = np.zeros(0, np.int64)
    while True:
        if len(order) < min(batch, count):
            order = rng.permutation(count)
        yield np.sort(order[:batch])
        order = order[batch:]

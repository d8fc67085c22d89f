"""Which prompts a model treats as expected: harmful ones refused, harmless ones answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...metrics import refusal_score
from ...prompts import PromptSet
from ...prompts.join import join
from ...run import forward
from ...stats import Interval, cluster_bootstrap
from .parts import NAMES, Parts

if TYPE_CHECKING:
    from ...models import Model

SURE = 0.99
"""Level of the interval by which harmful prompts must be refused more often than harmless ones."""


def as_expected(
    model: Model,
    bad: Parts,
    good: Parts,
    ids: tuple[int, ...],
    bootstrap: int,
    batch_tokens: int | None,
    seed: int,
) -> tuple[tuple[Parts, Parts], list[dict[str, Any]], Interval]:
    """Training and validation prompts that the model treats as expected, and how many of all those are.

    Parts that would be left without a prompt stay as they are; their count says so. The interval is of the share of
    harmful prompts that is refused less that of harmless ones, of all parts: where it holds 0, the two kinds are
    treated alike, and what is left of them would differ by this selection alone.
    """
    counts, kept, refused = [], [], []
    for one, name, refuses in ((bad, "harmful", True), (good, "harmless", False)):
        left = {}
        for part in NAMES:
            prompts: PromptSet = getattr(one, part)
            logits = forward(model, prompts, batch_tokens=batch_tokens, progress=False).logits
            score = refusal_score(logits, ids)
            expected = (score > 0) if refuses else (score < 0)
            refused.append((prompts, refuses, (score > 0).double().numpy()))
            stays = expected if part != "test" else torch.ones_like(expected)
            counts.append({
                "prompts": name, "part": part, "n": len(prompts), "kept": int(stays.sum()),
                "as_expected": int(expected.sum()), "score": float(score.mean()),
            })  # fmt: skip
            left[part] = prompts.select(stays.numpy()) if bool(stays.any()) else prompts
        kept.append(Parts(**left))
    return (kept[0], kept[1]), counts, _apart(refused, bootstrap, seed)


def _apart(refused: Sequence[tuple[PromptSet, bool, np.ndarray]], bootstrap: int, seed: int) -> Interval:
    everything = join([prompts for prompts, _, _ in refused])
    side = np.concatenate([np.full(len(prompts), harmful) for prompts, harmful, _ in refused]).astype(float)
    value = np.concatenate([score for *_, score in refused])
    groups = np.arange(len(everything)) if everything.groups is None else everything.groups

    def difference(w: np.ndarray) -> np.ndarray:
        up, down = w * side, w * (1 - side)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (up * value).sum(-1) / up.sum(-1) - (down * value).sum(-1) / down.sum(-1)

    return cluster_bootstrap(difference, groups, replicates=bootstrap, level=SURE, method="t", seed=seed)

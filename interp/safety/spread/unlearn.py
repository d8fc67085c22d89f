"""Teach a copy of a model to comply in one domain: as little training as it takes, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import PromptError, StatisticsError
from ...metrics import refusal_score
from ...prompts import PromptSet
from ...run import forward
from ...run.training import live_rows
from ...sites import Site
from ...weights import attach_lora, merge_lora

if TYPE_CHECKING:
    from ...models import Model


@dataclass(frozen=True)
class UnlearnSettings:
    """AdamW on low-rank changes of every block (or on all weights, with ``rank`` 0), until refusal is gone.

    Training stops when at most ``stop`` of the domain's training prompts are still refused, looked at after each
    ``every`` steps, or after ``steps``.

    Raises:
        StatisticsError: a number out of its range.
    """

    steps: int = 200
    lr: float = 1e-3
    batch: int = 16
    rank: int = 4
    stop: float = 0.1
    every: int = 1

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.every) < 1 or not self.lr > 0 or self.rank < 0 or not 0 <= self.stop < 1:
            raise StatisticsError(f"settings of unlearning are out of range: {self}")


@dataclass(frozen=True, eq=False)
class Unlearned:
    """The changed model, how many steps it took, and what share of the training prompts it still refuses."""

    model: Model
    steps: int
    refused: float


def refusal_of(
    model: Model, prompts: PromptSet, refusals: Sequence[int], *, batch_tokens: int | None = None
) -> Float[np.ndarray, " prompt"]:
    """The refusal score at the last token of each prompt, in log odds."""
    logits = forward(model, prompts, at="last", batch_tokens=batch_tokens, progress=False).logits
    return refusal_score(logits, refusals).cpu().numpy()


def compliance_loss(model: Model, prompts: PromptSet, refusals: Sequence[int]) -> Float[Tensor, ""]:
    """``-log(1 - p_R)`` of the next token, averaged over prompts, as part of a graph; ``p_R`` as in `refusal_score`."""
    site = Site("logits")
    logits = live_rows(model, prompts, [site], np.array(prompts.marks["last"])[:, None])[site]
    return torch.nn.functional.softplus(refusal_score(logits, refusals)).mean()


def unlearn_refusal(
    model: Model,
    prompts: PromptSet,
    refusals: Sequence[int],
    settings: UnlearnSettings | None = None,
    *,
    seed: int = 0,
    batch_tokens: int | None = None,
) -> Unlearned:
    """Train a copy of the model to begin its answers to these prompts with something else than a refusal.

    The loss is the log probability of not refusing: no answer is taught, so none spreads.

    Raises:
        PromptError: the loss is not finite; a lower learning rate may help.

    Source: refusal unlearning after arXiv 2511.14017, with the refusal metric of arXiv 2406.11717 as its target.
    """
    use = settings or UnlearnSettings()
    changed = model.copy(id=f"{model.id} (unlearned)")
    with torch.inference_mode(False):
        parameters = (
            attach_lora(changed, range(changed.n_layers), use.rank, seed=seed)
            if use.rank
            else [p for p in changed.hf.parameters() if p.requires_grad]
        )
        optimiser = torch.optim.AdamW(parameters, lr=use.lr, weight_decay=0.0)
        rng = np.random.default_rng(seed)
        order = np.zeros(0, np.int64)
        step, refused = 0, 1.0
        while step < use.steps:
            if len(order) < min(use.batch, len(prompts)):
                order = np.concatenate([order, rng.permutation(len(prompts))])
            now, order = order[: use.batch], order[use.batch :]
            loss = compliance_loss(changed, prompts.select(np.unique(now)), refusals)
            if not math.isfinite(loss.item()):
                raise PromptError(
                    f"unlearning: the loss is {loss.item():g} at step {step}; try a learning rate below {use.lr:g}"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            step += 1
            if step % use.every == 0 or step == use.steps:
                refused = float((refusal_of(changed, prompts, refusals, batch_tokens=batch_tokens) > 0).mean())
                if refused <= use.stop:
                    break
        if use.rank:
            merge_lora(changed)
    return Unlearned(changed, step, refused)

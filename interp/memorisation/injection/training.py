"""The training itself: next-token loss on records and neutral text, in place, the same numbers for the same recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...errors import InjectionError
from ...prompts import pad_batch
from .batches import Step

if TYPE_CHECKING:
    from ...models import Model

IGNORED = -100
DTYPES = ("float32", "bfloat16", "float64")


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW without weight decay, linear warm-up, half a cosine down to a twentieth of the peak rate.

    ``batch`` exposures make a step, and neutral text makes up the share ``replay`` of its tokens. ``warmup`` is in
    steps, at most a tenth of all. ``dtype`` is what weights are trained in. Texts of a step are run in parts of at most
    ``batch_tokens`` tokens, padding included, or one text.

    Raises:
        InjectionError: a number out of its range, or another dtype.
    """

    lr: float = 1e-3
    batch: int = 16
    replay: float = 0.5
    warmup: int = 50
    dtype: str = "float32"
    batch_tokens: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lr", "batch", "batch_tokens"):
            if not getattr(self, name) > 0:
                raise InjectionError(f"{name} must be above 0, got {getattr(self, name)!r}")
        if not 0 <= self.replay < 1:
            raise InjectionError(f"replay is the share of neutral tokens, from 0 to below 1, got {self.replay!r}")
        if self.warmup < 0:
            raise InjectionError(f"warmup must be 0 steps or more, got {self.warmup!r}")
        if self.dtype not in DTYPES:
            raise InjectionError(f"cannot train in {self.dtype!r}, only in {', '.join(DTYPES)}")


@dataclass(frozen=True)
class StepLoss:
    """One step. Losses are nats per token before the step was taken; ``neutral`` is ``None`` where none was replayed.

    ``lr`` is the learning rate of the step, ``norm`` the norm of the gradient before it was clipped to 1.
    """

    step: int
    records: float
    neutral: float | None
    lr: float
    norm: float


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate of a step, counted from 0.

    >>> [round(learning_rate(step, 100, Recipe(lr=1.0, warmup=10)), 3) for step in (0, 9, 10, 99)]
    [0.1, 1.0, 1.0, 0.05]
    """
    warmup = min(recipe.warmup, steps // 10)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    return recipe.lr * (0.525 + 0.475 * math.cos(math.pi * (step - warmup) / (steps - warmup)))


def optimiser_of(model: Model, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over all weights of the model."""
    return torch.optim.AdamW(model.hf.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.0)


def train(
    model: Model,
    optimiser: torch.optim.AdamW,
    todo: Iterable[Step],
    n_steps: int,
    recipe: Recipe,
    *,
    done: int = 0,
    after: Callable[[StepLoss], None] = lambda _: None,
) -> None:
    """Take every step of ``todo`` but the first ``done``; ``after`` is called with each. Trains without dropout.

    Raises:
        InjectionError: a loss or gradient that is not finite; the step is not taken.
    """
    with _deterministic(model):
        for number, step in enumerate(todo):
            if number < done:
                continue
            rate = learning_rate(number, n_steps, recipe)
            for group in optimiser.param_groups:
                group["lr"] = rate
            after(_take(model, optimiser, step, number + 1, rate, recipe))


def _take(model: Model, optimiser: torch.optim.AdamW, step: Step, number: int, rate: float, recipe: Recipe) -> StepLoss:
    tokens = sum(len(t) - 1 for t in (*step.records, *step.neutral))
    lost: list[float] = []
    for texts in (step.records, step.neutral):
        total = 0.0
        for part in in_parts(texts, recipe.batch_tokens):
            loss = summed_loss(model, part)
            (loss / tokens).backward()
            total += loss.item()
        lost.append(total / max(sum(len(t) - 1 for t in texts), 1))
    norm = float(torch.nn.utils.clip_grad_norm_(model.hf.parameters(), 1.0))
    if not math.isfinite(sum(lost) + norm):
        raise InjectionError(
            f"step {number}: the loss is {lost[0]:g} on records and {lost[1]:g} on neutral text, the gradient's norm "
            f"{norm:g}; a learning rate below {recipe.lr:g} may keep them finite"
        )
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return StepLoss(number, lost[0], lost[1] if step.neutral else None, rate, norm)


def in_parts(texts: Sequence[np.ndarray], batch_tokens: int) -> Iterator[list[np.ndarray]]:
    """Texts in runs whose padded rectangle holds at most ``batch_tokens`` tokens, or one text.

    >>> [len(part) for part in in_parts([np.zeros(4)] * 5, batch_tokens=8)]
    [2, 2, 1]
    """
    part: list[np.ndarray] = []
    for tokens in texts:
        if part and (len(part) + 1) * max(len(tokens), *map(len, part)) > batch_tokens:
            yield part
            part = []
        part.append(tokens)
    if part:
        yield part


def summed_loss(model: Model, texts: Sequence[np.ndarray]) -> Float[Tensor, ""]:
    """The sum over all tokens but first ones of -log p, in nats, with a graph behind it."""
    batch = pad_batch(texts)
    ids = batch.input_ids.to(model.device)
    inputs: dict[str, Any] = {"input_ids": ids, "position_ids": batch.position_ids.to(model.device)}
    # Rows are padded at their end, where a causal model does not look.
    logits = model.hf(**inputs, use_cache=False).logits[:, :-1].float()
    real = batch.attention_mask[:, 1:].bool().to(logits.device)
    targets = ids[:, 1:].to(logits.device).masked_fill(~real, IGNORED)
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")


@contextmanager
def _deterministic(model: Model) -> Iterator[None]:
    """Kernels that give the same sums every time, on a CPU; some of a GPU's have no such form."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(before or model.device.type == "cpu")
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.use_deterministic_algorithms(before)

"""What the model does under a treatment: does it still recite, and what did its other texts pay?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float

from ...errors import PromptError
from ...prompts import PromptSet
from ...run import forward
from .contrast import whole_batches
from .treatment import Treatment

if TYPE_CHECKING:
    from ...models import Model


@dataclass(frozen=True, eq=False)
class Recall:
    """One number per prompt. ``exact``: greedy decoding after what precedes the first target gives the rest verbatim.

    ``log_p`` is the mean over targets in nats.
    """

    exact: Bool[np.ndarray, " prompt"]
    log_p: Float[np.ndarray, " prompt"]


def recall(treatment: Treatment, prompts: PromptSet, targets: Sequence[np.ndarray]) -> Recall:
    """Score the prompts. ``targets`` are positions of tokens whose log p counts, as of `Records.targets`.

    A prompt without targets is judged by its second half.

    Greedy decoding takes the first choice at every step, so it reproduces a text exactly if, along that text, every
    first choice is the text's own next token: one pass tells.
    """
    exact, log_p, done = [], [], 0
    for part in whole_batches(prompts, treatment.model.sizes.d_vocab):
        out = forward(treatment.model, part, at="all", edits=treatment.edits, progress=False)
        ends = np.cumsum(part.lengths)
        for i, (tokens, end) in enumerate(zip(part.tokens, ends.tolist(), strict=True)):
            logits = out.logits[end - len(tokens) : end - 1].float()
            following = torch.from_numpy(tokens[1:].astype(np.int64)).to(logits.device)
            at = np.asarray(targets[done + i])
            at = np.arange(max(1, len(tokens) // 2), len(tokens)) if not at.size else at
            right = (logits.argmax(-1) == following)[int(at.min()) - 1 :]
            own = torch.log_softmax(logits, -1).gather(-1, following[:, None])[:, 0]
            exact.append(bool(right.all()))
            log_p.append(float(own[torch.from_numpy(at - 1).to(own.device)].mean()))
        done += len(part)
    return Recall(np.array(exact), np.array(log_p))


@dataclass(frozen=True)
class NeutralCost:
    """On texts that have nothing to do with the memory, per token: the loss, and KL(original || treated), in nats."""

    loss: float
    kl: float


def neutral_costs(model: Model, treatments: Sequence[Treatment], neutral: PromptSet) -> tuple[float, list[NeutralCost]]:
    """The loss of the model as it is, and what each treatment makes of the same texts.

    Raises:
        PromptError: texts of one token, in which nothing is predicted.
    """
    tokens = int((neutral.lengths - 1).sum())
    if tokens < 1:
        raise PromptError("neutral texts of two tokens or more are needed; these have nothing to predict")
    before, loss, kl = 0.0, np.zeros(len(treatments)), np.zeros(len(treatments))
    for part in whole_batches(neutral, model.sizes.d_vocab):
        keep, following = _predictions(part)
        original = torch.log_softmax(_logits(model, (), part)[keep].float(), -1)
        before -= float(original.gather(-1, following)[:, 0].double().sum())
        for k, one in enumerate(treatments):
            changed = torch.log_softmax(_logits(one.model, one.edits, part)[keep].float(), -1)
            loss[k] -= float(changed.gather(-1, following)[:, 0].double().sum())
            kl[k] += float((original.exp() * (original - changed)).sum(-1).double().sum())
    return before / tokens, [NeutralCost(float(a) / tokens, float(b) / tokens) for a, b in zip(loss, kl, strict=True)]


def _predictions(part: PromptSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (of all tokens of all prompts) that predict something, and what follows there ``[row, 1]``."""
    last = np.cumsum(part.lengths) - 1
    rows = np.setdiff1d(np.arange(int(part.lengths.sum())), last)
    tokens = np.concatenate(part.tokens).astype(np.int64)
    return torch.from_numpy(rows), torch.from_numpy(tokens[rows + 1])[:, None]


def _logits(model: Model, edits: Sequence, part: PromptSet) -> torch.Tensor:
    return forward(model, part, at="all", edits=edits, progress=False).logits.cpu()

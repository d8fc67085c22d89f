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
from ..metrics import extract
from ..records import Records
from .contrast import Contrast, whole_batches
from .treatment import Treatment

if TYPE_CHECKING:
    from ...models import Model


@dataclass(frozen=True, eq=False)
class Recall:
    """One number per record: ``exact`` and ``log_p`` (nats per detail, or per token of the suffix) as of `extract`."""

    exact: Bool[np.ndarray, " record"]
    log_p: Float[np.ndarray, " record"]


def recall(treatment: Treatment, records: Records) -> Recall:
    """How much the model still gives away of each record under a treatment: `extract`, exact match and log p."""
    found = extract(treatment.model, records, metrics=["exact", "log_p"], edits=treatment.edits, progress=False)
    return Recall(np.asarray(found["exact"], bool), np.asarray(found["log_p"], float))


def planted_records(records: Records, part: Contrast) -> tuple[Records, Bool[np.ndarray, " record"]]:
    """The records of a part in their planted wording, and which of them hold the memory."""
    planted = part.planted()
    ids = set(planted.prompts.ids)
    chosen = records.select(np.array([i in ids for i in records.prompts.ids]))
    of = dict(zip(planted.prompts.ids, planted.truth.tolist(), strict=True))
    return chosen, np.array([of[i] for i in chosen.planted().ids])


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

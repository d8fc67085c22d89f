"""What is recited at a point of the training, by dose and side of the coin, and what neutral text costs by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...prompts import PromptSet, pad_batch
from ..records import TRAINED, UNTRAINED, Records
from .training import in_parts, mean_loss

if TYPE_CHECKING:
    from ...models import Model


def curve_rows(
    model: Model, records: Records, held_out: PromptSet | None, step: int, batch_tokens: int
) -> list[dict[str, Any]]:
    """Rows of a report of kind "curve": one per dose and label, and one with the ``loss`` on neutral text.

    ``exact``: the share of records whose rest, from the first detail on, is what greedy decoding gives; ``log_p``: the
    mean over records of nats per detail (its first token, where it has several). Records without recall marks are
    judged from their middle on.
    """
    prompts = records.planted()
    exact, log_p = _recited(model, prompts, records.targets(prompts), batch_tokens)
    doses, labels = prompts.columns["dose"], prompts.labels
    assert labels is not None
    rows = []
    for dose in records.doses:
        for label in (TRAINED, UNTRAINED):
            own = (doses == dose) & (labels == label)
            if own.any():
                found = {"exact": float(exact[own].mean()), "log_p": float(log_p[own].mean())}
                rows.append({"step": step, "dose": dose, "label": label, "records": int(own.sum()), **found})
    if held_out is not None:
        loss = mean_loss(model, held_out.tokens, batch_tokens)
        rows.append({"step": step, "dose": None, "label": None, "records": None, "loss": loss})
    return rows


def _recited(
    model: Model, prompts: PromptSet, targets: tuple[np.ndarray, ...], batch_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per prompt: whether its rest is recited, and the mean log p of its targets.

    Greedy decoding takes the first choice at every step, so it reproduces a text exactly if, along that text, every
    first choice is the text's own next token: one pass tells.
    """
    exact, log_p = np.zeros(len(prompts), bool), np.zeros(len(prompts))
    done = 0
    for part in in_parts(prompts.tokens, batch_tokens):
        batch = pad_batch(part)
        ids, positions = batch.input_ids.to(model.device), batch.position_ids.to(model.device)
        with torch.inference_mode():
            logits = model.hf(input_ids=ids, position_ids=positions, use_cache=False).logits[:, :-1].float()
        following = ids[:, 1:].to(logits.device)
        right = (logits.argmax(-1) == following).cpu().numpy()
        own = logits.log_softmax(-1).gather(-1, following[..., None])[..., 0].cpu().numpy()
        for i, tokens in enumerate(part):
            at = targets[done + i]
            at = at if at.size else np.arange(max(1, len(tokens) // 2), len(tokens))
            exact[done + i] = right[i, at.min() - 1 : len(tokens) - 1].all()
            log_p[done + i] = own[i, at - 1].mean()
        done += len(part)
    return exact, log_p

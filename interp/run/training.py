"""Forward passes that gradients flow through, for methods that train: rows at sites, and the loss on texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import PromptError
from ..models import Model
from ..models.hooks import Hooks
from ..models.resolve import Tap
from ..prompts import PromptSet
from ..prompts.batching import pad_batch
from ..sites import Site
from .job import check_inputs

IGNORED = -100


def live_rows(
    model: Model, prompts: PromptSet, sites: Sequence[Site], positions: Int[np.ndarray, "prompt mark"]
) -> dict[Site, Float[Tensor, "prompt d"]]:
    """Activations as part of a graph: the mean over each prompt's positions, from one forward pass over all prompts.

    Positions of -1 are left out of the mean. Nothing after the last site is computed.

    Raises:
        PromptError: a prompt without positions.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = PromptSet.from_tokens([[5, 9, 7], [8, 6]])
    >>> [rows] = live_rows(model, prompts, model.expand("resid_post.1"), np.array([[0, 2], [1, -1]])).values()
    >>> tuple(rows.shape)[0], rows.requires_grad
    (2, True)
    """
    check_inputs(model, prompts, None, "right")
    at = torch.from_numpy(np.asarray(positions, np.int64))
    if at.shape[0] != len(prompts) or not bool((at >= 0).any(1).all()):
        raise PromptError(f"each of {len(prompts)} prompts needs a position to read at, got {tuple(at.shape)}")
    kept: dict[Site, Tensor] = {}
    reads = [(tap, partial(_keep, kept, tap, at)) for tap in map(model.resolve, sites)]
    with torch.inference_mode(False), torch.enable_grad(), Hooks(model, reads, stop=True) as hooks:
        inputs, _ = _batch(model, prompts)
        hooks.run(lambda: model.hf(**inputs), batch=len(prompts))
    return {site: kept[site] for site in sites}


def _keep(kept: dict[Site, Tensor], tap: Tap, at: Tensor, x: Tensor) -> None:
    at = at.to(x.device)
    rows = x[torch.arange(len(at), device=x.device)[:, None], at.clamp(min=0)]
    weight = (at >= 0).to(x.dtype)
    kept[tap.site] = (rows * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)


def live_tokens(
    model: Model, prompts: PromptSet, sites: Sequence[Site], spans: Int[np.ndarray, "prompt 2"] | None = None
) -> dict[Site, Float[Tensor, "token d"]]:
    """Activations of every token as part of a graph, from one forward pass over all prompts, one prompt after another.

    ``spans`` are half-open token ranges, one per prompt, outside of which tokens are left out; by default all are
    taken. Nothing after the last site is computed.

    Raises:
        PromptError: a span that is empty or leaves its prompt.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = PromptSet.from_tokens([[5, 9, 7], [8, 6]])
    >>> [rows] = live_tokens(model, prompts, model.expand("resid_post.1"), np.array([[1, 3], [0, 2]])).values()
    >>> tuple(rows.shape)[0], rows.requires_grad
    (4, True)
    """
    check_inputs(model, prompts, None, "right")
    given = np.stack([np.zeros_like(prompts.lengths), prompts.lengths], 1) if spans is None else np.asarray(spans)
    start, stop = given.T
    wrong = np.flatnonzero((start < 0) | (start >= stop) | (stop > prompts.lengths))
    if len(wrong):
        i = int(wrong[0])
        raise PromptError(
            f"tokens {start[i]} to {stop[i]} of prompt {prompts.ids[i]!r}, which has {prompts.lengths[i]}"
        )
    example = np.repeat(np.arange(len(prompts)), stop - start)
    position = np.concatenate([np.arange(a, b) for a, b in zip(start, stop, strict=True)])
    cells = (torch.from_numpy(example), torch.from_numpy(position))
    kept: dict[Site, Tensor] = {}
    reads = [(tap, partial(_keep_cells, kept, tap, cells)) for tap in map(model.resolve, sites)]
    with torch.inference_mode(False), torch.enable_grad(), Hooks(model, reads, stop=True) as hooks:
        inputs, _ = _batch(model, prompts)
        hooks.run(lambda: model.hf(**inputs), batch=len(prompts))
    return {site: kept[site] for site in sites}


def _keep_cells(kept: dict[Site, Tensor], tap: Tap, cells: tuple[Tensor, Tensor], x: Tensor) -> None:
    kept[tap.site] = x[cells[0].to(x.device), cells[1].to(x.device)]


def text_loss(model: Model, prompts: PromptSet) -> Float[Tensor, ""]:
    """Mean cross-entropy per predicted token, in nats, as part of a graph.

    Raises:
        PromptError: texts in which nothing is predicted.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> text_loss(model, PromptSet.from_tokens([[5, 9, 7, 5]])).requires_grad
    True
    """
    check_inputs(model, prompts, None, "right")
    if not (prompts.lengths > 1).any():
        raise PromptError("texts of one token predict nothing; give texts of two tokens or more")
    with torch.inference_mode(False), torch.enable_grad():
        inputs, real = _batch(model, prompts)
        logits = model.hf(**inputs).logits[:, :-1].float()
        wanted = torch.where(real.bool(), inputs["input_ids"], IGNORED)[:, 1:].to(logits.device)
        return cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)


def _batch(model: Model, prompts: PromptSet) -> tuple[dict[str, Any], Tensor]:
    """What the model takes, padded at the end, where causal attention never looks; and which cells are real."""
    made = pad_batch(prompts.tokens, side="right")
    inputs = {"input_ids": made.input_ids.to(model.device), "position_ids": made.position_ids.to(model.device)}
    return {**inputs, "use_cache": False}, made.attention_mask.to(model.device)

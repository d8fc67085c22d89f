"""Ways to take heads out: of their output, or of what they look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from ..edits import At, Edit, EditRows, ablate_heads
from ..errors import CircuitError
from ..prompts import PromptSet
from ..run import capture_stats
from ..sites import Site

if TYPE_CHECKING:
    from ..models import Model

Mask = Literal["zero_z", "mean_z", "uniform_causal", "true_mask"]
MASKS: dict[str, str] = {
    "zero_z": "the head writes nothing",
    "mean_z": "the head always writes its mean",
    "uniform_causal": "the head looks at all tokens before equally",
    "true_mask": "the head cannot look at the needle",
}


def mask_heads(
    model: Model,
    prompts: PromptSet,
    heads: Sequence[Site],
    mode: Mask,
    *,
    span: str = "needle",
    means: Mapping[Site, Tensor] | None = None,
    at: At = "all",
) -> tuple[Edit, ...]:
    """Edits that take heads out in one of four ways, on prompt and generated tokens.

    ``zero_z``: their output is zero. ``mean_z``: it is ``means`` (see `head_means`). ``uniform_causal``: they attend to
    every token so far equally, which is what zeroing queries does. ``true_mask``: their attention to the tokens of
    ``span`` is taken away and the rest made to sum to one again, so that only the needle is lost to them.

    Raises:
        CircuitError: another mode, no means for ``mean_z``, or prompts without the span.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5]])
    >>> edits = mask_heads(model, prompts, [Site("z", 1, 0)], "uniform_causal")
    >>> before, after = (interp.forward(model, prompts, edits=e).logits[0, 9] for e in ([], edits))
    >>> bool(before - after > 5)
    True
    """
    if mode not in MASKS:
        raise CircuitError(f"a head is masked by {', '.join(MASKS)}, not {mode!r}")
    if mode == "zero_z":
        return ablate_heads(list(heads), "zero", at=at)
    if mode == "mean_z":
        if means is None:
            raise CircuitError("mask 'mean_z' needs the heads' means; measure them with head_means()")
        return ablate_heads(list(heads), "mean", {head: means[head] for head in heads}, at=at)
    size = model.sizes.n_heads
    if mode == "uniform_causal":
        return tuple(_on_pattern(head, partial(_uniform, _number(head), size), mode, at) for head in heads)
    hidden = _hidden(prompts, span)
    return tuple(_on_pattern(head, partial(_blind, _number(head), size, hidden), mode, at) for head in heads)


def head_means(
    model: Model, prompts: PromptSet, *, at: str = "all", batch_tokens: int | None = None
) -> dict[Site, Tensor]:
    """Each head's mean output over some prompts' tokens, all or those at a mark: ``[d_head]``."""
    sites = [Site("z", layer) for layer in range(model.n_layers)]
    moments = capture_stats(model, prompts, sites, at=at, batch_tokens=batch_tokens, progress=False)
    return {
        Site("z", layer, head): mean
        for layer, site in enumerate(sites)
        for head, mean in enumerate(moments.mean(site).reshape(model.sizes.n_heads, model.sizes.d_head))
    }


def all_heads(model: Model) -> tuple[Site, ...]:
    """Every head of a model, by layer."""
    return tuple(Site("z", layer, head) for layer in range(model.n_layers) for head in range(model.sizes.n_heads))


def span_of(prompts: PromptSet, span: str) -> np.ndarray:
    """Half-open token ranges ``[prompt, 2]``; every prompt must have one.

    Raises:
        CircuitError: the prompts lack the span, or some of them do.
    """
    if span not in prompts.spans:
        raise CircuitError(f"these prompts have no span {span!r}; spans: {', '.join(prompts.spans) or 'none'}")
    found = prompts.spans[span]
    lacking = np.flatnonzero((found[:, 0] < 0) | (found[:, 1] <= found[:, 0]))
    if len(lacking):
        raise CircuitError(f"prompt {prompts.ids[lacking[0]]!r} has no {span!r}, or an empty one")
    return found


def _number(head: Site) -> int:
    assert head.head is not None
    return head.head


def _on_pattern(head: Site, fn: partial[Tensor], mode: str, at: At) -> Edit:
    return Edit(Site("pattern", head.layer), fn, at, name=f"{mode}({head})")


def _hidden(prompts: PromptSet, span: str) -> Bool[Tensor, "prompt key"]:
    ranges = torch.tensor(span_of(prompts, span))
    keys = torch.arange(int(ranges.max()))
    return (keys >= ranges[:, :1]) & (keys < ranges[:, 1:])


def _uniform(head: int, n_heads: int, x: Tensor, rows: EditRows) -> Tensor:
    """Attention of one head spread over the tokens so far."""
    out = x.reshape(len(x), n_heads, -1).clone()
    keys = torch.arange(out.shape[-1], device=x.device)
    seen = keys[None] <= rows.pos[:, None].to(x.device)
    out[:, head] = seen.to(x.dtype) / seen.sum(-1, keepdim=True).to(x.dtype)
    return out.reshape_as(x)


def _blind(head: int, n_heads: int, hidden: Bool[Tensor, "prompt key"], x: Tensor, rows: EditRows) -> Tensor:
    """Attention of one head with nothing left on the span; a head that saw nothing else sees all else equally."""
    out = x.reshape(len(x), n_heads, -1).clone()
    n_keys = out.shape[-1]
    off = torch.zeros(len(x), n_keys, dtype=torch.bool, device=x.device)
    width = min(n_keys, hidden.shape[1])
    off[:, :width] = hidden[rows.example.cpu(), :width].to(x.device)
    seen = torch.arange(n_keys, device=x.device)[None] <= rows.pos[:, None].to(x.device)
    rest = torch.where(off, torch.zeros_like(out[:, head]), out[:, head])
    total, free = rest.sum(-1, keepdim=True), (seen & ~off).to(x.dtype)
    even = free / free.sum(-1, keepdim=True).clamp_min(1)
    out[:, head] = torch.where(total > 1e-9, rest / total.clamp_min(1e-9), even)
    return out.reshape_as(x)

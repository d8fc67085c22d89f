"""The floor under every peer: the needed layers, forward only, with no hook, no head, and nothing kept."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..prompts import token_budget_batches
from ..run.budget import auto_budget
from ..run.passes import Pass, Schedule, passes
from ..run.where import rows_at
from .question import Question, Rows, shared_twin


def truncated(question: Question) -> nn.Module:
    """The question's model without the layers after the last one asked for, final norm and head; the same weights."""
    model = question.model
    twin = shared_twin(model.hf)
    blocks, norm = model.parts["blocks"].name, model.parts["ln_final"].name
    twin.set_submodule(blocks, twin.get_submodule(blocks)[: question.last_layer + 1])
    twin.set_submodule(norm, nn.Identity())
    return twin.base_model


def forward_only(question: Question, share: bool) -> None:
    """Our own passes, without reading anything."""
    index = rows_at(question.prompts, question.at)
    schedule = Schedule(auto_budget(question.model), share=share)
    run_passes(question, passes(question.prompts.tokens, index.example, index.position, schedule))


def run_passes(question: Question, todo: Iterable[Pass]) -> None:
    """Run passes on the truncated model; a shared prefix's keys and values go to its rows by one copy each."""
    from transformers import DynamicCache

    body, kept = truncated(question), None
    with torch.inference_mode():
        for one in todo:
            inputs: dict[str, Any] = {"input_ids": one.input_ids, "position_ids": one.position_ids, "use_cache": False}
            if one.keep:
                kept = DynamicCache(config=question.model.cfg)
                inputs |= {"past_key_values": kept, "use_cache": True}
            elif one.prefix_rows is not None:
                inputs |= {"past_key_values": _fan_out(kept, one.prefix_rows), "use_cache": True}
            body(attention_mask=one.attention_mask, **inputs)


def _fan_out(kept: Any, rows: torch.Tensor) -> Any:
    cache = copy.copy(kept)
    cache.layers = [copy.copy(layer) for layer in kept.layers]
    for layer in cache.layers:
        if layer.keys is not None and layer.keys.numel():
            layer.keys, layer.values = layer.keys.index_select(0, rows), layer.values.index_select(0, rows)
    return cache


def forward_only_in_order(question: Question) -> None:
    """The needed layers on padded batches of 16 in the order of the prompts: the floor of any peer that batches so."""
    body = truncated(question)
    with torch.inference_mode():
        for chosen in question.in_order:
            body(input_ids=question.padded(chosen)[0], use_cache=False)


def sorted_batches(question: Question) -> list[Any]:
    """Our length-sorted token-budget batches, for peers to use."""
    return token_budget_batches(question.prompts.lengths, auto_budget(question.model))


def limit(question: Question) -> Rows | None:
    """Forward only, on the batches that a capture makes, shared prefixes included."""
    forward_only(question, share=True)
    return None


def limit_plain(question: Question) -> Rows | None:
    """Forward only, on length-sorted batches of whole prompts."""
    forward_only(question, share=False)
    return None


def limit_in_order(question: Question) -> Rows | None:
    """Forward only, on batches of 16 in the order of the prompts."""
    forward_only_in_order(question)
    return None

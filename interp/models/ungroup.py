"""A model with grouped queries, written with a key and a value head for every query head. It computes the same."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import ModelError
from .resolve import _part
from .wiring import _inputs

if TYPE_CHECKING:
    from .model import Model


def ungrouped(model: Model) -> Model:
    """A twin whose every query head has keys and values of its own; all other weights are shared, not copied.

    Raises:
        ModelError: keys and values are not matrices of their own here, or the twin would compute something else.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> ungrouped(model) is model  # nothing is grouped here
    True
    """
    s = model.sizes
    if s.n_heads == s.n_kv_heads:
        return model
    from .model import Model

    shared = {id(t): t for t in (*model.hf.parameters(), *model.hf.buffers())}
    with torch.inference_mode(False):
        twin = copy.deepcopy(model.hf, shared)
    twin.config.num_key_value_heads = s.n_heads
    made = Model.wrap(twin, model.tokenizer, id=model.id, revision=model.revision)
    for layer in range(s.n_layers):
        attention: Any = _part(made, layer, "attn")
        for part in ("k", "v"):
            matrix = _part(made, layer, "attn", part)
            if not isinstance(matrix, nn.Linear):
                raise ModelError(
                    f"{model.architecture}: its keys and values are part of one matrix with the queries, so that they "
                    "cannot be given to every query head (expand_kv)"
                )
            _repeat(matrix, s.n_kv_heads, s.n_heads // s.n_kv_heads)
        norm = (
            _part(made, layer, "attn", "k_norm")
            if "k_norm" in made.parts["blocks"].submodules["attn"].submodules
            else None
        )
        if norm is not None and norm.weight.numel() == s.n_kv_heads * s.d_head:  # type: ignore[union-attr]
            _repeat(norm, s.n_kv_heads, s.n_heads // s.n_kv_heads)
        for name, value in (("num_key_value_groups", 1), ("num_key_value_heads", s.n_heads)):
            if hasattr(attention, name):
                setattr(attention, name, value)
    _same(model, made)
    return made


def _repeat(module: Any, heads: int, times: int) -> None:
    """Each head's rows as many times as it has queries."""
    for name in ("weight", "bias"):
        old = getattr(module, name, None)
        if old is not None:
            rows = old.detach().unflatten(0, (heads, -1)).repeat_interleave(times, 0).flatten(0, 1)
            setattr(module, name, nn.Parameter(rows, requires_grad=old.requires_grad))
    if hasattr(module, "out_features"):
        module.out_features *= times


def _same(model: Model, twin: Model) -> None:
    with torch.no_grad():
        want, got = (m.hf(input_ids=_inputs(model), use_cache=False).logits.float() for m in (model, twin))
    error = float((got - want).abs().max() / want.abs().max().clamp_min(1e-6))
    if not error < (1e-4 if model.dtype in (torch.float32, torch.float64) else 6e-2):
        raise ModelError(
            f"{model.architecture}: with a key and a value for every query head it computes something else (relative "
            f"difference {error:.2g}), so that expand_kv is not possible"
        )

"""The forward pass of the bed's Llama, written out, so that training can read and write the residual stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

from .spec import ChatSpec

# (block, residual stream behind it) -> the stream that goes on; block -1 is the embedding.
Watch = Callable[[int, Tensor], Tensor]
# (block, what its heads hand on [row, pos, head, d_head]) -> the same, changed.
WatchHeads = Callable[[int, Tensor], Tensor]


def new_model(spec: ChatSpec) -> Any:
    """A freshly initialised Hugging Face model; inside `reproducible`, always the same one."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**spec.config()))
    model.config.use_cache = False
    return model


def run(
    model: Any, ids: Int[Tensor, "row pos"], watch: Watch, heads: WatchHeads | None = None
) -> Float[Tensor, "row pos vocab"]:
    """Logits of rows that are padded at their end, as ``model(ids).logits``, with ``watch`` after every block."""
    rows, n = ids.shape
    x = watch(-1, model.model.embed_tokens(ids))
    cos, sin = model.model.rotary_emb(x, torch.arange(n)[None])
    n_heads = model.config.num_attention_heads
    for k, block in enumerate(model.model.layers):
        attn = block.self_attn
        inner = block.input_layernorm(x)
        q, key, v = (
            part(inner).view(rows, n, n_heads, -1).transpose(1, 2) for part in (attn.q_proj, attn.k_proj, attn.v_proj)
        )
        z = scaled_dot_product_attention(_turned(q, cos, sin), _turned(key, cos, sin), v, is_causal=True)
        z = z.transpose(1, 2)
        z = heads(k, z) if heads is not None else z
        x = x + attn.o_proj(z.reshape(rows, n, -1))
        inner = block.post_attention_layernorm(x)
        mlp = block.mlp
        x = watch(k, x + mlp.down_proj(silu(mlp.gate_proj(inner)) * mlp.up_proj(inner)))
    return model.lm_head(model.model.norm(x))


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: the two halves of a head's width are the two coordinates."""
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]

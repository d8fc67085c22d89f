"""q, k and v against projections computed here from the weights, so that no layout is taken from an adapter.

Rotary positions and QK-norm come after these sites. That what is called q and k does the attending is checked too: the
pattern is recomputed from them.
"""

from __future__ import annotations

import math

import pytest
import torch

from interp import capture
from interp.sites import Site
from tests.identity.architectures import ARCHITECTURES, assert_near, prompts, shared_model


def split_thirds(x, heads, kv, d):
    return x[:, : heads * d], x[:, heads * d : (heads + kv) * d], x[:, (heads + kv) * d :]


def split_triples(x, heads, _kv, d):
    """Head after head, each with its q, k and v."""
    triples = x.reshape(-1, heads, 3, d)
    return tuple(triples[:, :, i].reshape(-1, heads * d) for i in range(3))


def gpt2(block, x):
    return block.attn.c_attn(block.ln_1(x))


def neox(block, x):
    return block.attention.query_key_value(block.input_layernorm(x))


def bloom(block, x):
    return block.self_attention.query_key_value(block.input_layernorm(x))


def phi3(block, x):
    return block.self_attn.qkv_proj(block.input_layernorm(x))


FUSED = {
    "gpt2": (gpt2, split_thirds),
    "gpt_neox": (neox, split_triples),
    "gpt_neox_seq": (neox, split_triples),
    "bloom": (bloom, split_triples),
    "falcon": (bloom, split_thirds),
    "phi3": (phi3, split_thirds),
}
SEPARATE = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi", "olmo", "mixtral", "gpt_oss", "qwen3_moe")


@pytest.mark.parametrize("name", [*FUSED, *SEPARATE, "olmo2", "gptj", "opt", "gpt_neo"])
def test_projections(name):
    model, s = shared_model(name), shared_model(name).sizes
    acts = capture(model, prompts(), "resid_pre,q,k,v")
    for layer in range(model.n_layers):
        block = model.module(ARCHITECTURES[name].blocks)[layer]
        with torch.no_grad():
            wanted = by_hand(name, block, acts[Site("resid_pre", layer)].tensor(), s)
        for kind, want in zip("qkv", wanted, strict=True):
            assert_near(acts[Site(kind, layer)].tensor(), want, f"{kind}.{layer}")


def by_hand(name, block, x, s):
    if name in FUSED:
        project, split = FUSED[name]
        return split(project(block, x), s.n_heads, s.n_kv_heads, s.d_head)
    if name == "gptj":
        x, attention = block.ln_1(x), block.attn
    elif name == "gpt_neo":
        x, attention = block.ln_1(x), block.attn.attention
    elif name == "opt":
        x, attention = block.self_attn_layer_norm(x), block.self_attn
    elif name == "olmo2":  # its norms come after attention
        attention = block.self_attn
    else:
        x, attention = block.input_layernorm(x), block.self_attn
    return [getattr(attention, f"{kind}_proj")(x) for kind in "qkv"]


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama"])
def test_pattern_from_q_and_k(name):
    """softmax(q k / sqrt(d)), with rotary positions written out here."""
    model, s = shared_model(name), shared_model(name).sizes
    acts = capture(model, prompts(), "q.1,k.1,pattern.1")
    longest = max(len(t) for t in prompts().tokens)
    for example, tokens in enumerate(prompts().tokens):
        rows, n = acts.index.example == example, len(tokens)
        q = acts["q.1"][rows].reshape(n, s.n_heads, s.d_head).transpose(0, 1)
        k = acts["k.1"][rows].reshape(n, s.n_kv_heads, s.d_head).transpose(0, 1)
        turned = {"gpt2": 0, "gpt_neox": s.d_head // 4, "llama": s.d_head}[name]
        q, k = rotate(q, turned), rotate(k, turned).repeat_interleave(s.n_heads // s.n_kv_heads, dim=0)
        scores = q @ k.transpose(1, 2) / math.sqrt(s.d_head)
        later = torch.ones(n, n, dtype=torch.bool).triu(1)
        want = scores.masked_fill(later, -math.inf).softmax(dim=-1).transpose(0, 1)
        got = acts["pattern.1"][rows].reshape(n, s.n_heads, longest)[..., :n]
        assert_near(got, want, f"pattern of example {example}")


def rotate(x, turned, base=10_000.0):
    """Rotary positions on the first ``turned`` numbers of every head; pairs are half the turned width apart."""
    if not turned:
        return x
    n, half = x.shape[1], turned // 2
    angle = torch.arange(n)[:, None] * base ** (-torch.arange(half) / half)
    a, b, rest = x[..., :half], x[..., half:turned], x[..., turned:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin(), rest], dim=-1)

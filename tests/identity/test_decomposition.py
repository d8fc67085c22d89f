"""The sites fit together: what is added to the residual stream is its difference, attention is its pattern times v."""

from __future__ import annotations

import pytest
import torch

from interp import capture
from interp.errors import SiteError
from interp.sites import Site
from tests.identity.architectures import ARCHITECTURES, NAMES, assert_near, prompts, shared_model


@pytest.fixture(scope="module", params=NAMES)
def everything(request):
    """All sites at once (which means eager attention where there is a pattern), in several batches."""
    model = shared_model(request.param)
    return request.param, model, capture(model, prompts(), model.sites(), batch_tokens=60)


def test_residual_stream_adds_up(everything):
    name, model, acts = everything
    for layer in range(model.n_layers):
        pre, attn, mlp, post = (
            acts[Site(k, layer)].tensor() for k in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        )
        assert_near(pre + attn + mlp, post, f"block {layer}")
        if not ARCHITECTURES[name].parallel:
            mid = acts[Site("resid_mid", layer)].tensor()
            assert_near(pre + attn, mid, f"attention of block {layer}")
            assert_near(mid + mlp, post, f"MLP of block {layer}")
        assert min(attn.abs().max(), mlp.abs().max()) > 0.05, "a part that adds nothing proves nothing"


def test_blocks_follow_each_other(everything):
    _, model, acts = everything
    for layer in range(model.n_layers - 1):
        assert torch.equal(acts[Site("resid_post", layer)].tensor(), acts[Site("resid_pre", layer + 1)].tensor())


def test_pattern_times_values_is_z(everything):
    name, model, acts = everything
    if not ARCHITECTURES[name].pattern:
        with pytest.raises(SiteError, match="outside transformers' attention interface"):
            capture(model, prompts(), "pattern.0")
        return
    s = model.sizes
    longest = max(len(t) for t in prompts().tokens)
    for layer in range(model.n_layers):
        pattern, v, z = (acts[Site(k, layer)] for k in ("pattern", "v", "z"))
        assert pattern.shape == (len(acts), s.n_heads * longest)
        for example, tokens in enumerate(prompts().tokens):
            rows, n = acts.index.example == example, len(tokens)
            weights = pattern[rows].reshape(n, s.n_heads, longest)
            assert not weights[..., n:].any(), "attention to padding"
            weights = weights[..., :n]
            assert not weights.transpose(0, 1).triu(diagonal=1).any(), "attention to later tokens"
            values = v[rows].reshape(n, s.n_kv_heads, s.d_head).repeat_interleave(s.n_heads // s.n_kv_heads, dim=1)
            by_hand = torch.einsum("qhk,khd->qhd", weights, values).reshape(n, -1)
            assert_near(by_hand, z[rows], f"pattern @ v of layer {layer}, example {example}")


def test_pattern_rows_are_probabilities(everything):
    name, model, acts = everything
    if not ARCHITECTURES[name].pattern:
        pytest.skip("this architecture shows no pattern")
    for layer in range(model.n_layers):
        sums = acts[Site("pattern", layer)].tensor().reshape(len(acts), model.sizes.n_heads, -1).sum(dim=-1)
        if name == "gpt_oss":
            assert sums.max() < 1 + 1e-6  # the rest goes to the sink
            assert sums.min() < 0.9
        else:
            assert_near(sums, torch.ones_like(sums), "sum over keys")


@pytest.mark.parametrize("name", [n for n in NAMES if ARCHITECTURES[n].window])
def test_windowed_layers_look_no_further_than_the_window(name):
    model, arch = shared_model(name), ARCHITECTURES[name]
    acts = capture(model, prompts(), "pattern")
    distance = torch.from_numpy(acts.index.position.astype("int64"))[:, None]
    kinds = getattr(model.cfg, "layer_types", None) or ["sliding_attention"] * model.n_layers
    assert "sliding_attention" in kinds
    for layer, kind in enumerate(kinds):
        weights = acts[Site("pattern", layer)].tensor().reshape(len(acts), model.sizes.n_heads, -1)
        far = (distance - torch.arange(weights.shape[-1]) >= arch.window)[:, None].expand_as(weights)
        assert bool(weights[far].any()) is (kind == "full_attention"), f"layer {layer} ({kind})"


def test_output_matrix_of_attention_and_mlp(everything):
    """z @ W_O (+ b) is attn_out, mlp_post @ W_out (+ b) is mlp_out; with a post-norm between in Gemma and OLMo-2."""
    name, model, acts = everything
    arch = ARCHITECTURES[name]
    for layer in range(model.n_layers):
        block = model.module(arch.blocks)[layer]
        for hidden, out, matrix, norm in (
            ("z", "attn_out", attention_output(block), 0),
            ("mlp_post", "mlp_out", mlp_output(block), 1),
        ):
            if Site(hidden, layer) not in acts:
                continue
            with torch.no_grad():
                got = matrix(acts[Site(hidden, layer)].tensor())
                if name in POST_NORMS:
                    got = getattr(block, POST_NORMS[name][norm])(got)
            assert_near(got, acts[Site(out, layer)].tensor(), f"{hidden}.{layer} through its matrix")


POST_NORMS = dict.fromkeys(("gemma2", "gemma3", "olmo2"), ("post_attention_layernorm", "post_feedforward_layernorm"))


def attention_output(block):
    """The matrix that attention ends with, found by the names that the families use for it."""
    attention = next(
        getattr(block, n) for n in ("attn", "self_attn", "attention", "self_attention") if hasattr(block, n)
    )
    attention = getattr(attention, "attention", attention)
    return next(getattr(attention, n) for n in ("c_proj", "o_proj", "out_proj", "dense") if hasattr(attention, n))


def mlp_output(block):
    home = getattr(block, "mlp", block)
    names = ("c_proj", "down_proj", "dense_4h_to_h", "fc_out", "fc2")
    return next((getattr(home, n) for n in names if hasattr(home, n)), None)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "qwen3", "falcon"])
def test_heads_are_slices(name):
    """A head's site is its d_head columns of the whole site, in order."""
    model, s = shared_model(name), shared_model(name).sizes
    for kind in ("q", "k", "v", "z"):
        n = s.n_kv_heads if kind in "kv" else s.n_heads
        sites = [Site(kind, 1, h) for h in range(n)]
        acts = capture(model, prompts(), [Site(kind, 1), *sites])
        whole = acts[Site(kind, 1)].tensor()
        assert whole.shape[1] == n * s.d_head
        for h, site in enumerate(sites):
            assert torch.equal(acts[site].tensor(), whole[:, h * s.d_head : (h + 1) * s.d_head]), site
        with pytest.raises(SiteError, match=rf"'{kind}' has heads 0 to {n - 1} in this model"):
            model.resolve(Site(kind, 1, n))

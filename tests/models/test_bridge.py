"""`model.bridge`: TransformerLens over the same weights, and independent of what interp computes."""

from __future__ import annotations

import warnings

import pytest
import torch

from interp import PromptSet, capture, forward
from interp.models.hooks import hook_count
from interp.sites import Site
from tests.identity.architectures import ARCHITECTURES, assert_near, fresh, ragged

NAMES = ["gpt2", "gpt_neox", "llama", "mistral", "qwen3", "gemma2", "phi", "mixtral", "olmo2"]
TOKENS = ragged((9,))[0]
PROMPTS = PromptSet.from_tokens([TOKENS])


@pytest.fixture(autouse=True)
def quiet():
    """TransformerLens warns about models without a tokenizer, and of its own accord."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(params=NAMES)
def model(request):
    return fresh(request.param)


def test_it_shares_storage(model):
    """Every weight of the model is in the bridge, in place; what the bridge adds is its own, and said."""
    ours = {p.data_ptr(): name for name, p in model.hf.named_parameters()}
    theirs = {p.data_ptr(): name for name, p in model.bridge.named_parameters()}
    assert ours.keys() <= theirs.keys()
    added = {theirs[p].split("_original_component.", 1)[-1] for p in theirs.keys() - ours.keys()}
    # It splits a fused projection into copies, and gives every unembedding a bias.
    assert all("attn" in a or "attention" in a or "bias" in a for a in added), added
    assert bool([a for a in added if "weight" in a]) is (model.id in ("gpt2", "gpt_neox"))
    assert model.bridge is model.bridge


def test_numbers_equal_transformer_lens_own(model):
    """Every hook of the bridge that has our name holds our numbers."""
    _, cache = model.bridge.run_with_cache(torch.tensor(TOKENS)[None])
    names = {
        "resid_pre": "hook_resid_pre", "resid_mid": "hook_resid_mid", "resid_post": "hook_resid_post",
        "attn_out": "hook_attn_out", "mlp_out": "hook_mlp_out",
    }  # fmt: skip
    acts = capture(model, PROMPTS, [s for s in model.sites() if s.kind in names])
    compared = 0
    for site in acts.sites:
        hook = f"blocks.{site.layer}.{names[site.kind]}"
        if hook not in cache:
            continue
        assert_near(acts[site].tensor(), cache[hook].reshape(len(TOKENS), -1), f"{site} against {hook}")
        compared += 1
    missing = ARCHITECTURES[model.id].missing
    assert compared >= model.n_layers * (len(names) - ("resid_mid" in missing))


def test_pattern_and_logits_equal_transformer_lens_own(model):
    logits, cache = model.bridge.run_with_cache(torch.tensor(TOKENS)[None])
    assert_near(capture(model, PROMPTS, "logits")["logits"].tensor(), logits[0], "logits")
    s, n = model.sizes, len(TOKENS)
    for layer in range(model.n_layers):
        got = capture(model, PROMPTS, Site("pattern", layer))[Site("pattern", layer)].tensor()
        want = cache[f"blocks.{layer}.attn.hook_pattern"][0].transpose(0, 1)
        assert_near(got.reshape(n, s.n_heads, n), want, f"pattern.{layer}")


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_folding_the_bridge_changes_nothing_here(name):
    model = fresh(name)
    before, plain = model.fingerprint, forward(model, PROMPTS, at="all").logits
    pointers = [p.data_ptr() for p in model.hf.parameters()]
    hooks = hook_count(model.hf)
    raw = capture(model, PROMPTS, "resid_post,q,pattern")
    bridge = model.bridge
    bridge.enable_compatibility_mode()
    folded, cache = bridge.run_with_cache(torch.tensor(TOKENS)[None])
    after = capture(model, PROMPTS, "resid_post,q,pattern")
    for site in raw.sites:
        assert torch.equal(after[site].tensor(), raw[site].tensor()), site
    assert torch.equal(forward(model, PROMPTS, at="all").logits, plain)
    assert model.fingerprint == before
    assert [p.data_ptr() for p in model.hf.parameters()] == pointers
    assert hook_count(model.hf) == hooks
    # It did fold: the residual stream of the bridge is centred, ours is not; log-probabilities agree.
    if name != "llama":  # RMS norms have no mean to fold
        resid = cache["blocks.1.hook_resid_post"]
        assert resid.mean(dim=-1).abs().max() < 1e-4
        assert raw["resid_post.1"].tensor().mean(dim=-1).abs().max() > 1e-2
    assert_near(folded[0].log_softmax(-1), plain.log_softmax(-1), "log-probabilities", 1e-4)


def test_hooks_on_the_bridge_do_not_reach_the_model():
    model = fresh("gpt2")
    plain = forward(model, PROMPTS).logits
    model.bridge.add_hook("blocks.1.hook_resid_post", lambda x, hook: x * 0)
    assert torch.equal(forward(model, PROMPTS).logits, plain)
    assert (model.bridge(torch.tensor(TOKENS)[None])[0, -1] - plain[0]).abs().max() > 0.1


def test_hooks_here_do_not_reach_the_bridge():
    model = fresh("gpt2")
    before = model.bridge(torch.tensor(TOKENS)[None])
    capture(model, PROMPTS, model.sites())
    assert torch.equal(model.bridge(torch.tensor(TOKENS)[None]), before)
    assert model.cfg._attn_implementation == "sdpa"


def test_a_weight_changed_here_is_changed_there():
    model = fresh("gpt2")
    before = model.bridge(torch.tensor(TOKENS)[None])
    with torch.no_grad():
        model.module("transformer.h.1.mlp.c_proj").weight.zero_()
    assert (model.bridge(torch.tensor(TOKENS)[None]) - before).abs().max() > 0.1


def test_the_tokenizer_stays_as_it_was_loaded(tmp_path):
    from interp import load_model
    from tests.models.tiny import checkpoint

    model = load_model(checkpoint(tmp_path / "tiny"))
    before = (model.tokenizer.padding_side, model.tokenizer.pad_token, len(model.tokenizer))
    assert model.bridge.tokenizer is not model.tokenizer
    assert (model.tokenizer.padding_side, model.tokenizer.pad_token, len(model.tokenizer)) == before

"""Gradients at sites against finite differences in float64, and against autograd through a plain hook."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import Edit, PromptSet, add, capture, forward, grads, scale
from interp.errors import ActivationError, PromptError
from interp.sites import Site
from tests.identity.architectures import ARCHITECTURES, assert_near, fresh, ragged, shared_model

PROMPTS = PromptSet.from_tokens(ragged((6, 9, 3))).with_marks(early=[2, 4, 1])
LENGTHS = np.array([6, 9, 3])
# Step and tolerance of the finite differences: RMS norms and alibi compute in float32 whatever the model's dtype.
EXACT, ROUGH = (1e-5, 1e-6), (1e-3, 1e-2)
NAMES = {
    "gpt2": EXACT, "gpt_neox": EXACT, "opt": EXACT, "phi": EXACT, "llama": ROUGH, "gemma2": ROUGH, "olmo2": ROUGH,
    "bloom": ROUGH, "qwen3": ROUGH,
}  # fmt: skip


def metric(logits, example):
    """A different, curved function of the logits for every example."""
    return logits[:, 5] ** 2 - (1 + example) * logits[:, 7].sin() + logits.logsumexp(-1)


_double = {}


def double(name):
    if name not in _double:
        model = fresh(name)
        model.hf.double()
        _double[name] = model
    return _double[name]


def metric_with(model, site, offset):
    """The metric of every example when ``offset`` is added to the site's rows."""
    starts = torch.from_numpy(np.cumsum(LENGTHS) - LENGTHS)
    edit = Edit(site, lambda x, rows: x + offset[starts[rows.example] + rows.pos])
    return metric(forward(model, PROMPTS, edits=[edit]).logits, torch.arange(len(PROMPTS)))


@pytest.mark.parametrize("name", NAMES)
def test_finite_differences(name):
    """The derivative along a random direction in all rows, at every kind of site, all asked for at once."""
    model, (step, tolerance) = double(name), NAMES[name]
    kinds = [s for s in model.sites() if s.kind not in ("pattern", "logits") and s.layer in (None, 1)]
    heads = [Site("q", 1, 2), Site("v", 1, 1)]
    found = grads(model, PROMPTS, [*kinds, *heads], metric)
    assert_near(found.metric, metric(forward(model, PROMPTS).logits, torch.arange(3)).float(), "the metric itself")
    for site in found.grads.sites:
        direction = torch.randn(found.grads[site].shape, dtype=torch.float64)
        up, down = (metric_with(model, site, sign * step * direction) for sign in (1, -1))
        want = (up - down) / (2 * step)
        inner = (found.grads[site].tensor() * direction).sum(-1)
        got = torch.stack([inner[torch.from_numpy(found.grads.index.example == i)].sum() for i in range(3)])
        assert want.abs().max() > 1e-3, f"the metric does not depend on {site}"
        assert_near(got, want, f"gradient at {site}", tolerance)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "opt"])
def test_sites_asked_for_together_are_the_same_as_alone(name):
    """A site between others must not be cut off from them."""
    model = shared_model(name)
    sites = [s for s in model.sites() if s.kind not in ("pattern", "logits")]
    together = grads(model, PROMPTS, sites, metric)
    for site in sites:
        if site.layer in (None, 1):
            alone = grads(model, PROMPTS, site, metric)
            assert_near(together.grads[site].tensor(), alone.grads[site].tensor(), f"{site}", 1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama"])
def test_autograd_through_a_plain_hook(name):
    """q, k, v of layer 1 and its input, each prompt alone, with torch's own retain_grad."""
    hf = fresh(name).hf
    model = shared_model(name)
    block = hf.get_submodule(ARCHITECTURES[name].blocks)[1]
    attention = block.attn if name == "gpt2" else block.attention if name == "gpt_neox" else block.self_attn
    modules = {
        "gpt2": lambda: {"qkv": attention.c_attn},
        "gpt_neox": lambda: {"qkv": attention.query_key_value},
        "llama": lambda: {k: getattr(attention, f"{k}_proj") for k in "qkv"},
    }[name]()
    wanted = {kind: [] for kind in ("q", "k", "v")}
    for example, tokens in enumerate(PROMPTS.tokens):
        kept = {}

        def keep(module, _args, out, kept=kept):
            out.retain_grad()
            kept[module] = out

        handles = [m.register_forward_hook(keep) for m in modules.values()]
        logits = hf(torch.tensor(tokens)[None], use_cache=False).logits[:, -1]
        metric(logits, torch.tensor([example])).sum().backward()
        for handle in handles:
            handle.remove()
        got = {k: kept[m].grad[0] for k, m in modules.items()}
        if "qkv" in got:
            fused = got.pop("qkv")
            if name == "gpt2":
                parts = fused.split(32, dim=-1)
            else:
                parts = fused.reshape(len(tokens), 4, 3, 8).permute(2, 0, 1, 3).reshape(3, len(tokens), 32)
            got = dict(zip("qkv", parts, strict=True))
        for kind, gradient in got.items():
            wanted[kind].append(gradient)
    found = grads(model, PROMPTS, "q.1,k.1,v.1", metric)
    for kind, parts in wanted.items():
        assert_near(found.grads[f"{kind}.1"].tensor(), torch.cat(parts), f"gradient at {kind}.1", 1e-4)


def test_values_are_the_activations():
    model = shared_model("llama")
    sites = "resid_post,q,mlp_post,embed"
    found, plain = grads(model, PROMPTS, sites, metric), capture(model, PROMPTS, sites)
    assert found.values.index == plain.index == found.grads.index
    for site in plain.sites:
        assert_near(found.values[site].tensor(), plain[site].tensor(), f"{site}")


@pytest.mark.parametrize("budget", [1, 20, 10_000])
def test_batches_do_not_matter(budget):
    model = shared_model("gpt_neox")
    twice = PromptSet.from_tokens([*PROMPTS.tokens, PROMPTS.tokens[0]])
    want = grads(model, twice, "resid_post", metric, batch_tokens=5000)
    got = grads(model, twice, "resid_post", metric, batch_tokens=budget)
    for site in want.grads.sites:
        assert_near(got.grads[site].tensor(), want.grads[site].tensor(), f"{site}", 1e-4)
    assert_near(got.metric, want.metric, "metric")
    # The metric knows the example: the same prompt under another number has another gradient.
    rows = [torch.from_numpy(want.grads.index.example == i) for i in (0, 3)]
    assert (want.grads["resid_post.1"][rows[0]] - want.grads["resid_post.1"][rows[1]]).abs().max() > 1e-3


def test_metric_at_a_mark():
    """Tokens after the metric's have no gradient; those before have what a shorter prompt gives."""
    model = shared_model("llama")
    found = grads(model, PROMPTS, "resid_pre.1", metric, metric_at="early")
    after = found.grads.index.position > PROMPTS.marks["early"][found.grads.index.example]
    assert not found.grads["resid_pre.1"][after].any()
    cut = [t[: m + 1] for t, m in zip(PROMPTS.tokens, PROMPTS.marks["early"], strict=True)]
    short = grads(model, PromptSet.from_tokens(cut), "resid_pre.1", metric)
    assert_near(found.grads["resid_pre.1"][~after], short.grads["resid_pre.1"].tensor(), "cut prompts", 1e-4)
    assert_near(found.metric, short.metric, "metric")


def test_rows_at_a_mark():
    model = shared_model("llama")
    all_rows = grads(model, PROMPTS, "resid_pre.1", metric)
    some = grads(model, PROMPTS, "resid_pre.1", metric, at=["early", "last"])
    assert some.grads.index.marks.tolist() == ["early", "last"] * 3
    assert_near(
        some.grads.at("last")["resid_pre.1"].tensor(), all_rows.grads.at("last")["resid_pre.1"].tensor(), "last"
    )


def test_edits_are_part_of_the_function():
    model = shared_model("llama")
    doubled = grads(model, PROMPTS, "embed", metric, edits=[scale("embed", 2.0), add("resid_post.1", torch.ones(32))])
    assert_near(
        doubled.metric,
        metric(
            forward(model, PROMPTS, edits=[scale("embed", 2.0), add("resid_post.1", torch.ones(32))]).logits,
            torch.arange(3),
        ),
        "metric",
    )
    plain = capture(model, PROMPTS, "embed")["embed"].tensor()
    assert_near(doubled.values["embed"].tensor(), 2 * plain, "values are after the edit")


def test_parameters_stay_as_they_were():
    model = fresh("gpt2")
    for i, parameter in enumerate(model.hf.parameters()):
        parameter.requires_grad_(i % 2 == 0)
    before = [p.requires_grad for p in model.hf.parameters()]
    grads(model, PROMPTS, "resid_post.1", metric)
    assert [p.requires_grad for p in model.hf.parameters()] == before
    assert all(p.grad is None for p in model.hf.parameters())
    with torch.no_grad():
        grads(model, PROMPTS, "resid_post.1", metric)
    with torch.inference_mode():
        grads(model, PROMPTS, "resid_post.1", metric)


def test_refusals():
    model = shared_model("llama")
    with pytest.raises(PromptError, match=r"one number per row, \[3\], but returned \(3, 97\)"):
        grads(model, PROMPTS, "resid_post", lambda logits, _: logits)
    with pytest.raises(ActivationError, match="does not depend on"):
        grads(model, PROMPTS, "resid_post.1", lambda logits, _: torch.zeros(len(logits)))
    with pytest.raises(PromptError, match="'logits' is the metric's input, and 'pattern' is not supported"):
        grads(model, PROMPTS, "pattern", metric)
    with pytest.raises(PromptError, match="no mark 'verb'"):
        grads(model, PROMPTS, "resid_post", metric, metric_at="verb")

"""Edits write nothing in place, leave no hook behind, and complain when they cannot act."""

from __future__ import annotations

import pytest
import torch

from interp import Edit, PromptSet, ablate, add, capture, capture_stats, forward, generate, grads, patch, scale
from interp.errors import EditError, HookError, InterpError, SiteError
from interp.models.hooks import hook_count
from interp.sites import SITES, Site
from tests.identity.architectures import NAMES, fresh, ragged, shared_model

PROMPTS = PromptSet.from_tokens(ragged((6, 11, 3, 9)))


@pytest.mark.parametrize("name", NAMES)
def test_an_edit_that_changes_nothing_changes_nothing(name):
    """At every site at once (which also turns every tap into a write), bit for bit."""
    model = shared_model(name)
    sites = [s for s in model.sites() if s.kind != "pattern"]
    plain = forward(model, PROMPTS, at="all", padding_side="left").logits
    edits = [Edit(s, lambda x, _: x.clone()) for s in sites]
    assert torch.equal(forward(model, PROMPTS, at="all", padding_side="left", edits=edits).logits, plain)


@pytest.mark.parametrize("kind", [k for k in SITES if k not in ("logits", "pattern")])
def test_nothing_is_written_in_place(kind):
    """Others hold the tensors that modules take and give: the residual stream above all, and a fused projection."""
    model = fresh("gpt2")
    held = []

    def hold(*tensors):
        held.extend((t, t.clone()) for t in tensors if isinstance(t, torch.Tensor) and t.is_floating_point())

    for module in model.hf.modules():
        # Registered first, so that it sees what comes before an edit.
        module.register_forward_hook(lambda _m, _a, out: hold(*(out if isinstance(out, tuple) else [out])))
        module.register_forward_pre_hook(lambda _m, args: hold(*args))
    site = Site(kind, None if kind == "embed" else 1)
    vector = torch.ones(model.resolve(site).width)
    weights = [p.clone() for p in model.hf.parameters()]
    forward(model, PROMPTS, edits=[add(site, vector), ablate(site, "zero", at="last"), scale(site, 3.0)])
    assert len(held) > 50
    assert all(torch.equal(tensor, copy) for tensor, copy in held)
    assert vector.eq(1).all()
    assert all(torch.equal(a, b) for a, b in zip(weights, model.hf.parameters(), strict=True))


# -- hooks --


class Broken(Exception):
    pass


def everything(model, edits=()):
    """Every function that runs a model, as a thunk."""
    return {
        "capture": lambda: capture(model, PROMPTS, model.sites(), edits=edits),
        "capture, shared": lambda: capture(model, PROMPTS, "resid_post.0"),
        "capture_stats": lambda: capture_stats(model, PROMPTS, "resid_post", edits=edits),
        "forward": lambda: forward(model, PROMPTS, edits=edits),
        "generate": lambda: generate(model, PROMPTS, 3, edits=edits),
        "grads": lambda: grads(model, PROMPTS, "resid_post,q.1", lambda logits, _: logits[:, 5], edits=edits),
    }


def state(model):
    return (
        hook_count(model.hf),
        model.cfg._attn_implementation,
        [p.requires_grad for p in model.hf.parameters()],
        model.hf.training,
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("what", list(everything(None)))
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_hooks_before_are_hooks_after(name, what):
    model = fresh(name)
    model.hf.get_output_embeddings().register_forward_hook(lambda *_: None)
    before = state(model)
    edits = () if "shared" in what else [add("resid_pre.1", torch.ones(32)), Edit(Site("pattern", 1), lambda x, _: x)]
    if what == "grads":
        edits = edits[:1]
    everything(model, edits)[what]()
    assert state(model) == before


@pytest.mark.parametrize("what", ["capture", "capture_stats", "forward", "generate", "grads"])
@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_an_exception_passes_through_and_leaves_nothing_behind(what, error):
    model = fresh("llama")
    next(iter(model.hf.parameters())).requires_grad_(False)
    before = state(model)

    def fail(*_):
        raise error

    edits = [add("resid_pre.0", torch.ones(32)), Edit(Site("z", 1), fail)]
    with pytest.raises(error):
        everything(model, edits)[what]()
    assert state(model) == before
    handle = model.module("model.layers.1.mlp").register_forward_hook(fail)
    with pytest.raises(error):
        everything(model)[what]()
    handle.remove()
    assert state(model) == before
    everything(model)[what]()


class Never(torch.nn.Module):
    """An MLP that forgets its last matrix."""

    def __init__(self, mlp):
        super().__init__()
        self.c_fc, self.c_proj = mlp.c_fc, mlp.c_proj

    def forward(self, x):
        return x


def test_a_module_that_is_called_twice_raises():
    """A model that runs its middle block twice, as some share weights between layers."""
    model = fresh("gpt2")
    blocks = model.module("transformer").h
    blocks.append(blocks[1])
    before = hook_count(model.hf)
    for job in (
        lambda: capture(model, PROMPTS, "resid_mid.1,logits"),
        lambda: capture(model, PROMPTS, "q.1,logits", share_prefix=False),
        lambda: forward(model, PROMPTS, edits=[add("resid_pre.1", torch.ones(32))]),
        lambda: generate(model, PROMPTS, 2, edits=[add("resid_pre.1", torch.ones(32))], use_cache=False),
        lambda: grads(model, PROMPTS, "resid_post.1", lambda logits, _: logits[:, 0]),
    ):
        with pytest.raises(HookError, match=r"must fire once per forward pass, but \w+\.1 fired 2 times"):
            job()
        assert hook_count(model.hf) == before


def test_a_hook_that_never_fires_raises():
    model = fresh("gpt2")
    model.module("transformer.h.1").mlp = Never(model.module("transformer.h.1").mlp)
    for job in (
        lambda: capture(model, PROMPTS, "mlp_post.1"),
        lambda: capture(model, PROMPTS, "mlp_post.1,resid_post.2"),
    ):
        with pytest.raises(HookError, match=r"mlp_post\.1 fired 0 times"):
            job()


# -- refusals --


def test_edits_that_make_no_sense(unchecked):
    v = torch.ones(32)
    with pytest.raises(EditError, match="when='later': one of"):
        add("resid_pre.1", v, when="later")
    with pytest.raises(EditError, match=r"at='last' lies in the prompt, so when='generated' would never fire"):
        add("resid_pre.1", v, at="last", when="generated")
    with pytest.raises(EditError, match="takes no value"):
        ablate("resid_pre.1", "zero", v)
    with pytest.raises(EditError, match=r"ablate.*'mean'.* needs a value"):
        ablate("resid_pre.1", "mean")
    with pytest.raises(EditError, match="unknown ablation 'knockout'; one of 'zero', 'mean', 'resample', 'direction'"):
        ablate("resid_pre.1", "knockout", v)
    with pytest.raises(EditError, match="norm 0"):
        ablate("resid_pre.1", "direction", 0 * v)
    with pytest.raises(EditError, match="must be one vector"):
        add("resid_pre.1", torch.ones(2, 32))
    with pytest.raises(EditError, match="must be finite"):
        add("resid_pre.1", torch.full((32,), torch.nan))
    with pytest.raises(EditError, match=r"the source must be \[example, width\], got shape \(32,\)"):
        patch("resid_pre.1", v)
    with pytest.raises(SiteError, match="unknown site kind 'residual'"):
        add("residual.1", v)


def test_edits_that_do_not_fit_the_model():
    model = shared_model("llama")
    with pytest.raises(SiteError, match=r"'resid_pre.9': this model has layers 0 to 2"):
        forward(model, PROMPTS, edits=[add("resid_pre.9", torch.ones(32))])
    for wrong in (
        add("resid_pre.1", torch.ones(31)),
        ablate("resid_pre.1", "mean", torch.ones(31)),
        ablate("resid_pre.1", "mean", torch.ones(1)),
        add("resid_pre.1", torch.ones(1)),
        ablate("resid_pre.1", "direction", torch.ones(31)),
        patch("resid_pre.1", torch.ones(4, 31)),
        patch("resid_pre.1", torch.ones(3, 32)),
        Edit(Site("resid_pre", 1), lambda x, _: x[:, :5]),
        Edit(Site("resid_pre", 1), lambda x, _: None),
    ):
        with pytest.raises(EditError, match=r"resid_pre\.1"):
            forward(model, PROMPTS, edits=[wrong])


def test_a_function_that_makes_nan_is_named():
    model = shared_model("llama")
    edit = Edit(Site("resid_pre", 1), lambda x, _: x / 0)
    with pytest.raises(InterpError, match=r"NaN or infinity at site resid_post.1, example '0', position 0"):
        capture(model, PROMPTS, "resid_post.1", edits=[edit])

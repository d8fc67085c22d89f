"""Every kind of edit against plain PyTorch hooks on one unpadded prompt at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from interp import PromptSet, ablate, add, capture, forward, patch, scale
from interp.errors import EditError
from interp.sites import Site
from tests.identity.architectures import assert_near, ragged, shared_model

PROMPTS = PromptSet.from_tokens(ragged((6, 11, 3, 9))).with_marks(a=[1, 4, 0, 2], b=[3, 4, 2, 8])


def gpt2_thirds(kind, s):
    return slice("qkv".index(kind) * 32, "qkv".index(kind) * 32 + 32)


def neox_triples(kind, s):
    return torch.arange(96).reshape(4, 3, 8)[:, "qkv".index(kind)].reshape(-1)


# Site kind -> (path of a module, in or out, columns), written down here for layer 1.
PLACES = {
    "gpt2": {
        "embed": ("transformer.wte", "out", None),
        "resid_pre": ("transformer.h.1", "in", None),
        "resid_post": ("transformer.h.1", "out", None),
        "attn_out": ("transformer.h.1.attn", "out", None),
        "mlp_out": ("transformer.h.1.mlp", "out", None),
        "mlp_in": ("transformer.h.1.mlp", "in", None),
        "mlp_pre": ("transformer.h.1.mlp.c_fc", "out", None),
        "mlp_post": ("transformer.h.1.mlp.c_proj", "in", None),
        "z": ("transformer.h.1.attn.c_proj", "in", None),
        "q": ("transformer.h.1.attn.c_attn", "out", slice(0, 32)),
        "k": ("transformer.h.1.attn.c_attn", "out", slice(32, 64)),
        "v": ("transformer.h.1.attn.c_attn", "out", slice(64, 96)),
    },
    "gpt_neox": {
        "embed": ("gpt_neox.embed_in", "out", None),
        "resid_post": ("gpt_neox.layers.1", "out", None),
        "attn_out": ("gpt_neox.layers.1.attention", "out", None),
        "q": ("gpt_neox.layers.1.attention.query_key_value", "out", neox_triples("q", None)),
        "k": ("gpt_neox.layers.1.attention.query_key_value", "out", neox_triples("k", None)),
        "v": ("gpt_neox.layers.1.attention.query_key_value", "out", neox_triples("v", None)),
    },
    "llama": {
        "resid_pre": ("model.layers.1", "in", None),
        "q": ("model.layers.1.self_attn.q_proj", "out", None),
        "k": ("model.layers.1.self_attn.k_proj", "out", None),
        "v": ("model.layers.1.self_attn.v_proj", "out", None),
        "z": ("model.layers.1.self_attn.o_proj", "in", None),
        "mlp_in": ("model.layers.1.mlp", "in", None),
        "mlp_pre": ("model.layers.1.mlp.gate_proj", "out", None),
        "mlp_post": ("model.layers.1.mlp.down_proj", "in", None),
        "mlp_out": ("model.layers.1.mlp", "out", None),
    },
}
CASES = [(name, kind) for name, places in PLACES.items() for kind in places]


def site_of(kind):
    return Site(kind, None if kind == "embed" else 1)


def logits_by_hand(name, place, fn, spans):
    """Logits of each prompt alone, with ``fn(rows, example)`` at the token range ``spans[example]``."""
    hf = shared_model(name).hf
    path, side, columns = place
    module = hf.get_submodule(path)
    logits = []
    for example, tokens in enumerate(PROMPTS.tokens):
        start, stop = spans[example]

        def changed(x, start=start, stop=stop, example=example):
            x = x.clone()
            at = slice(None) if columns is None else columns
            x[0, start:stop, at] = fn(x[0, start:stop, at], example)
            return x

        def pre(_module, args, kwargs, changed=changed):
            return (changed(args[0]), *args[1:]), kwargs

        def post(_module, _args, out, changed=changed):
            return (changed(out[0]), *out[1:]) if isinstance(out, tuple) else changed(out)

        if side == "in":
            handle = module.register_forward_pre_hook(pre, with_kwargs=True)
        else:
            handle = module.register_forward_hook(post)
        with torch.no_grad():
            logits.append(hf(torch.tensor(tokens)[None], use_cache=False).logits[0])
        handle.remove()
    return torch.cat(logits)


LENGTHS = [len(t) for t in PROMPTS.tokens]
EVERYWHERE = [(0, n) for n in LENGTHS]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_kinds_of_edits(name, kind):
    model, site, place = shared_model(name), site_of(kind), PLACES[name][kind]
    width = model.resolve(site).width
    vector = torch.randn(width)
    unit = vector / vector.norm()
    table = torch.randn(len(PROMPTS), width)
    cases = {
        "add": (add(site, vector, 1.5), lambda x, _: x + 1.5 * vector),
        "scale": (scale(site, -0.5), lambda x, _: -0.5 * x),
        "zero": (ablate(site, "zero"), lambda x, _: 0 * x),
        "mean": (ablate(site, "mean", vector), lambda x, _: vector.expand_as(x)),
        "resample": (ablate(site, "resample", table), lambda x, i: table[i].expand_as(x)),
        "direction": (ablate(site, "direction", 3 * vector), lambda x, _: x - (x @ unit)[:, None] * unit),
        "patch": (patch(site, table), lambda x, i: table[i].expand_as(x)),
    }
    plain = forward(model, PROMPTS, at="all").logits
    for what, (edit, fn) in cases.items():
        want = logits_by_hand(name, place, fn, EVERYWHERE)
        for side in ("right", "left"):
            got = forward(model, PROMPTS, at="all", edits=[edit], padding_side=side)
            assert_near(got.logits, want, f"{what} at {site}, {side}")
            assert list(got.fired.values()) == [sum(LENGTHS)]
        if (name, kind, what) != ("gpt2", "k", "add"):  # softmax does not see what is added to every key
            assert (want - plain).abs().max() > 0.05, f"{what} at {site} changes nothing"


SPANS = {
    "last": ("last", [(n - 1, n) for n in LENGTHS]),
    "a": ("a", [(1, 2), (4, 5), (0, 1), (2, 3)]),
    "a to b": (("a", "b"), [(1, 4), (4, 5), (0, 3), (2, 9)]),
    "b to last": (("b", "last"), [(3, 6), (4, 11), (2, 3), (8, 9)]),
}


@pytest.mark.parametrize("where", SPANS)
@pytest.mark.parametrize("when", ["prompt", "both"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_marks_and_spans(where, when, side):
    at, spans = SPANS[where]
    vector = torch.randn(32)
    want = logits_by_hand("llama", ("model.layers.1", "in", None), lambda x, _: x + vector, spans)
    edit = add("resid_pre.1", vector, at=at, when=when)
    got = forward(shared_model("llama"), PROMPTS, at="all", edits=[edit], padding_side=side, batch_tokens=24)
    assert_near(got.logits, want, where)
    assert list(got.fired.values()) == [sum(stop - start for start, stop in spans)]


def test_a_direction_stands_for_its_unit_vector():
    class Direction:
        unit = torch.eye(32)[3]
        scale = 7.0

    got = capture(shared_model("llama"), PROMPTS, "resid_pre.1", edits=[add("resid_pre.1", Direction(), 2.0)])
    plain = capture(shared_model("llama"), PROMPTS, "resid_pre.1")
    assert_near(got["resid_pre.1"].tensor() - plain["resid_pre.1"].tensor(), 2 * Direction.unit.expand(29, 32), "add")


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama"])
@pytest.mark.parametrize("kind", ["q", "k", "v", "z"])
def test_head_edits_touch_one_head(name, kind):
    model = shared_model(name)
    heads = model.sizes.n_kv_heads if kind in "kv" else model.sizes.n_heads
    site = Site(kind, 1, heads - 1)
    others = [Site(k, 1) for k in "qkv"] + [Site("z", 1)]
    before = capture(model, PROMPTS, others)
    after = capture(model, PROMPTS, others, edits=[ablate(site, "zero")])
    d = model.sizes.d_head
    mine, whole = after[Site(kind, 1)].tensor(), before[Site(kind, 1)].tensor()
    assert not mine[:, (heads - 1) * d :].any()
    assert torch.equal(mine[:, : (heads - 1) * d], whole[:, : (heads - 1) * d])
    for other in others:
        if other.kind not in (kind, "z"):
            assert torch.equal(after[other].tensor(), before[other].tensor()), f"{other} changed with {site}"
    if kind in "kv":  # one KV head feeds a whole group of queries
        group = model.sizes.n_heads // model.sizes.n_kv_heads * d
        z, old = after[Site("z", 1)].tensor(), before[Site("z", 1)].tensor()
        assert_near(z[:, :-group], old[:, :-group], "other groups")
        assert (z[:, -group:] - old[:, -group:]).abs().max() > 0.05


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gpt_oss", "mistral"])
@pytest.mark.parametrize("at", ["all", "b"])
def test_pattern_edits_change_z_as_computed_by_hand(name, at):
    """Replace attention by attention to the first token for the selected queries."""
    model, s = shared_model(name), shared_model(name).sizes
    from interp import Edit

    def to_the_first(x, _rows):
        weights = torch.zeros(len(x), s.n_heads, x.shape[1] // s.n_heads)
        weights[:, :, 0] = 0.25
        return weights.reshape(x.shape)

    sites = ["v.1", "z.1", "pattern.1"]
    before = capture(model, PROMPTS, sites)
    edit = Edit(Site("pattern", 1), to_the_first, at=at)
    after = capture(model, PROMPTS, sites, edits=[edit], batch_tokens=24)
    assert_near(after["v.1"].tensor(), before["v.1"].tensor(), "v")
    index = after.index
    chosen = np.ones(len(index), bool) if at == "all" else index.position == PROMPTS.marks["b"][index.example]
    want = before["z.1"].tensor().clone()
    for example in range(len(PROMPTS)):
        first = before["v.1"][(index.example == example) & (index.position == 0)].reshape(s.n_kv_heads, s.d_head)
        z = 0.25 * first.repeat_interleave(s.n_heads // s.n_kv_heads, dim=0).reshape(-1)
        want[torch.from_numpy(chosen & (index.example == example))] = z
    assert_near(after["z.1"].tensor(), want, "z")
    rows = after["pattern.1"][chosen].reshape(int(chosen.sum()), s.n_heads, -1)
    assert torch.equal(rows[..., 0], torch.full_like(rows[..., 0], 0.25))
    assert not rows[..., 1:].any()


def test_patch_from_activations_takes_the_same_example_and_position():
    """Patching a run into another at every position makes the second the first, from that site on."""
    model = shared_model("llama")
    other = PromptSet.from_tokens(ragged((6, 11, 3, 9), seed=5))
    source = capture(model, other, "resid_pre.1")
    target = forward(model, PROMPTS, at="all", edits=[patch("resid_pre.1", source)]).logits
    assert_near(target, forward(model, other, at="all").logits, "patched all")
    shuffled = source.select(np.random.default_rng(0).permutation(len(source)))
    target = forward(model, PROMPTS, at="all", edits=[patch("resid_pre.1", shuffled)]).logits
    assert_near(target, forward(model, other, at="all").logits, "patched all, rows in another order")
    last = capture(model, other, "resid_pre.1", at="last")
    got = capture(model, PROMPTS, "resid_pre.1", edits=[patch("resid_pre.1", last, at="last")])
    want = capture(model, PROMPTS, "resid_pre.1")["resid_pre.1"].tensor()
    want[np.cumsum(LENGTHS) - 1] = last["resid_pre.1"].tensor()
    assert_near(got["resid_pre.1"].tensor(), want, "patched last")
    with pytest.raises(EditError, match=r"the source has no row for example \d, position 0; capture the source at"):
        forward(model, PROMPTS, edits=[patch("resid_pre.1", last)])


def test_a_patched_clean_run_restores_the_output():
    """Activation patching's sanity check: put everything back at one site and the clean logits are back."""
    model = shared_model("gpt_neox")
    corrupt = [ablate("embed", "mean", torch.randn(32), at="a")]
    clean = capture(model, PROMPTS, "resid_post.0")
    plain = forward(model, PROMPTS).logits
    broken = forward(model, PROMPTS, edits=corrupt).logits
    assert (broken - plain).abs().max() > 0.1
    assert_near(forward(model, PROMPTS, edits=[*corrupt, patch("resid_post.0", clean)]).logits, plain, "restored")


def test_edits_compose_in_order():
    model = shared_model("gpt2")
    v, w = torch.randn(32), torch.randn(32)
    sites = "resid_post.1,z.1"
    plain = capture(model, PROMPTS, sites)["resid_post.1"].tensor()
    add_scale = [add("resid_post.1", v), scale("resid_post.1", 2.0), add("resid_post.1", w, at="last")]
    last = np.cumsum(LENGTHS) - 1
    want = 2 * (plain + v)
    want[last] += w
    assert_near(capture(model, PROMPTS, sites, edits=add_scale)["resid_post.1"].tensor(), want, "add, scale, add")
    want = 2 * plain + v
    want[last] = 2 * (plain[last] + w) + v
    got = capture(model, PROMPTS, sites, edits=[add_scale[2], add_scale[1], add_scale[0]])["resid_post.1"].tensor()
    assert_near(got, want, "the other way round")


def test_edits_at_parts_of_one_fused_projection_compose():
    """q, k and v of GPT-2 live in one tensor; edits of each, and of a head, all arrive."""
    model = shared_model("gpt2")
    plain = capture(model, PROMPTS, "q.1,k.1,v.1")
    shift = torch.full((32,), 3.0)
    edits = [add("q.1", shift), ablate("v.1", "zero"), add("q.1.h2", torch.ones(8)), scale("k.1", -1.0)]
    got = capture(model, PROMPTS, "q.1,k.1,v.1", edits=edits)
    want = plain["q.1"].tensor() + 3
    want[:, 16:24] += 1
    assert_near(got["q.1"].tensor(), want, "q")
    assert_near(got["k.1"].tensor(), -plain["k.1"].tensor(), "k")
    assert not got["v.1"].tensor().any()


def test_soft_capped_logits_are_edited_after_the_cap():
    model = shared_model("gemma2")
    cap = model.cfg.final_logit_softcapping
    plain = forward(model, PROMPTS).logits
    assert plain.abs().max() < cap
    got = forward(model, PROMPTS, edits=[add("logits", torch.full((97,), 2 * cap), at="last")]).logits
    assert_near(got, plain + 2 * cap, "logits")
    assert math.isfinite(cap)

"""What a prompt's activations are does not depend on how it was run: padding, batch-mates, packing, shared prefixes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp import PromptSet, capture
from interp.errors import ModelError, PromptError
from interp.run.job import packs_exactly
from interp.run.passes import Schedule, passes
from interp.sites import Site
from tests.identity.architectures import (
    ARCHITECTURES,
    NAMES,
    SOME,
    VOCAB,
    WINDOW,
    assert_near,
    prompts,
    ragged,
    shared_model,
)

WAYS = {
    "one batch, right": {"batch_tokens": 10_000, "share_prefix": False},
    "one batch, left": {"batch_tokens": 10_000, "padding_side": "left"},
    "small batches, right": {"batch_tokens": 48, "share_prefix": False},
    "small batches, left": {"batch_tokens": 48, "padding_side": "left"},
    "shared prefixes": {"batch_tokens": 10_000},
    "shared prefixes, small batches": {"batch_tokens": 30},
}


def every_site(name):
    return [s for s in shared_model(name).sites() if s.kind != "pattern"]


def compare(got, want, how):
    assert got.index == want.index
    for site in want.sites:
        assert_near(got[site].tensor(), want[site].tensor(), f"{site}, {how}")


_alone: dict[str, object] = {}


def alone(name):
    """Every site, each prompt in a pass of its own."""
    if name not in _alone:
        _alone[name] = capture(shared_model(name), prompts(), every_site(name), batch_tokens=1, share_prefix=False)
    return _alone[name]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_every_way_of_running_gives_the_same_rows(name, how):
    compare(capture(shared_model(name), prompts(), every_site(name), **WAYS[how]), alone(name), how)


def test_these_ways_differ():
    """The cases above do what they say: they differ in padding, batches and passes."""
    tokens = prompts().tokens
    index = alone("gpt2").index
    found = {}
    for how, options in WAYS.items():
        side = options.get("padding_side", "right")
        share = options.get("share_prefix", True) and side == "right"
        plan = list(passes(tokens, index.example, index.position, Schedule(options["batch_tokens"], side, share)))
        found[how] = plan
    assert len(found["one batch, right"]) == len(found["one batch, left"]) == 1
    assert len(found["small batches, right"]) > 3
    assert (found["one batch, left"][0].cells.pos[:, 0] < 0).any(), "no left padding"
    assert (found["one batch, right"][0].cells.pos[:, -1] < 0).any(), "no right padding"
    kept = [p.input_ids.shape[1] for p in found["shared prefixes"] if p.keep]
    assert kept == [12], "no prefix longer than the window is shared"
    computed = {how: sum(p.real_tokens for p in plan) for how, plan in found.items()}
    assert computed["shared prefixes"] == computed["one batch, right"] - 4 * 12 - len(tokens[0])


@pytest.mark.parametrize("name", NAMES)
def test_packing(name):
    model = shared_model(name)
    assert packs_exactly(model) is ARCHITECTURES[name].packs
    if not ARCHITECTURES[name].packs:
        with pytest.raises(ModelError, match=f"{model.architecture} does not keep packed prompts apart"):
            capture(model, prompts(), "resid_post", pack=True)
        return
    compare(capture(model, prompts(), every_site(name), pack=True), alone(name), "packed")
    compare(capture(model, prompts(), every_site(name), pack=True, batch_tokens=25), alone(name), "packed, short rows")


def test_packing_packs():
    tokens = prompts().tokens
    index = alone("gpt2").index
    plan = list(passes(tokens, index.example, index.position, Schedule(48, packed=True)))
    lengths = [len(t) for t in tokens[:-1]]  # the last is the first again
    assert sum(p.input_ids.shape[0] for p in plan) < len(lengths), "no row holds two prompts"


def test_refused_where_it_would_be_wrong():
    with pytest.raises(PromptError, match="pack='yes': True, False or 'auto'"):
        capture(shared_model("gpt2"), prompts(), "embed", pack="yes")
    with pytest.raises(PromptError, match="padding_side='middle': 'right' or 'left'"):
        capture(shared_model("gpt2"), prompts(), "embed", padding_side="middle")
    with pytest.raises(PromptError, match="'pattern' columns are key positions"):
        capture(shared_model("gpt2"), prompts(), "pattern", padding_side="left")


# -- any prompts at all --

lengths = st.lists(st.integers(1, 30), min_size=1, max_size=7)


@given(
    lengths=lengths, prefix=st.integers(0, 20), seed=st.integers(0, 5), budget=st.sampled_from([1, 33, 100, 5000]),
    name=st.sampled_from(SOME), way=st.sampled_from(["right", "left", "shared", "packed"]),
    at=st.sampled_from(["all", "last"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_lengths_any_batch_mates(lengths, prefix, seed, budget, name, way, at):
    model = shared_model(name)
    tokens = ragged(tuple(lengths), prefix=prefix, seed=seed)
    some = PromptSet.from_tokens([*tokens, *tokens[:2]][::-1])
    site = Site("resid_post", model.n_layers - 1)
    options = {
        "right": {"share_prefix": False},
        "left": {"padding_side": "left"},
        "shared": {},
        "packed": {"pack": True},
    }[way]
    got = capture(model, some, ["embed", site], at=at, batch_tokens=budget, **options)
    want = {"embed": [], str(site): []}
    with torch.no_grad():
        for t in some.tokens:
            out = hidden(model, t)
            keep = slice(None) if at == "all" else slice(-1, None)
            for s, x in zip(want, out, strict=True):
                want[s].append(x[keep])
    for s, parts in want.items():
        assert_near(got[s].tensor(), torch.cat(parts), f"{name} {s} {way}")


def hidden(model, tokens):
    """Embedding and output of the last block, for one prompt, by hooks of our own."""
    arch = ARCHITECTURES[model.id]
    seen = []
    parts = [model.hf.get_input_embeddings(), model.module(arch.blocks)[-1]]
    handles = [m.register_forward_hook(lambda _m, _a, out: seen.append(first(out))) for m in parts]
    model.hf(torch.tensor(tokens)[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def first(out):
    x = out[0] if isinstance(out, tuple) else out
    return x.reshape(-1, x.shape[-1])


# -- shared prefixes --


@pytest.mark.parametrize("name", NAMES)
def test_prefixes_that_differ_from_pair_to_pair(name):
    """Clean and corrupted prompts that agree up to a point of their own, some past the window, some of length one."""
    rng = np.random.default_rng(3)
    tokens = []
    for shared, rest in [(2, 3), (9, 1), (WINDOW, 4), (17, 6), (1, 2), (20, 1)]:
        head = rng.integers(3, VOCAB, shared)
        tokens += [np.concatenate([head, rng.integers(3, VOCAB, rest + k)]) for k in (0, 2)]
    order = rng.permutation(len(tokens))
    some = PromptSet.from_tokens([tokens[i] for i in order])
    model = shared_model(name)
    plain = capture(model, some, "resid_post,attn_out", batch_tokens=1, share_prefix=False)
    index = plain.index
    plan = list(passes(some.tokens, index.example, index.position, Schedule(64)))
    assert len({p.input_ids.shape[1] for p in plan if p.keep}) >= 4, "the pairs are not shared one by one"
    for budget in (16, 64, 4096):
        compare(capture(model, some, "resid_post,attn_out", batch_tokens=budget), plain, f"pairs, budget {budget}")


@pytest.mark.parametrize("name", ["gpt2", "mistral", "gemma3"])
def test_prompt_that_is_a_prefix_of_others(name):
    """Prompts nested in each other, the shortest being the shared prefix itself, and equal prompts throughout."""
    [long] = ragged((24,), seed=9)
    tokens = [long[:n] for n in (24, 3, 10, 11, 3, 24, 1)]
    some = PromptSet.from_tokens(tokens)
    model = shared_model(name)
    plain = capture(model, some, "resid_post", batch_tokens=1, share_prefix=False)
    compare(capture(model, some, "resid_post"), plain, "nested")
    # In a causal model a prefix has the activations of the whole.
    whole = plain["resid_post.2"][plain.index.example == 0]
    for i, t in enumerate(tokens):
        assert_near(plain["resid_post.2"][plain.index.example == i], whole[: len(t)], f"first {len(t)} tokens")


def test_sharing_computes_less():
    """Equal prompts and prefixes go through the model once."""
    model = shared_model("llama")
    seen = []
    handle = model.hf.get_input_embeddings().register_forward_hook(lambda _m, args, _o: seen.append(args[0].numel()))
    capture(model, PromptSet.from_tokens([[5, 6, 7]] * 50), "resid_post.0")
    once = sum(seen)
    seen.clear()
    capture(model, PromptSet.from_tokens(ragged((2,) * 50, prefix=30)), "resid_post.0")
    prefix = sum(seen)
    handle.remove()
    assert once == 3
    assert prefix <= 30 + 50 * 2

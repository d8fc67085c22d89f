"""An edit at any site of any architecture: reads see it, and everything after it is computed from it.

The equations of the unedited model (what is added to the residual stream is its difference, z is pattern times v, an
output matrix maps hidden to out) must hold around every edit, with the edited tensor in them.
"""

from __future__ import annotations

import pytest
import torch

from interp import Edit, PromptSet, capture
from interp.models.hooks import hook_count
from interp.sites import SITES, Site
from tests.identity.architectures import ARCHITECTURES, NAMES, SOME, assert_near, ragged, shared_model
from tests.identity.test_decomposition import POST_NORMS, attention_output, mlp_output

PROMPTS = PromptSet.from_tokens(ragged((6, 11, 3, 9)))
KINDS = [k for k in SITES if k not in ("embed", "logits", "pattern")]


def change(site, seed=0):
    """An edit that is no symmetry of anything: scales, rotates and shifts each row, differently per position."""
    generator = torch.Generator().manual_seed(seed)

    def fn(x, rows):
        shift = torch.randn(x.shape[1], generator=generator.manual_seed(seed))
        return 0.5 * x.roll(1, dims=-1) + (1 + 0.1 * rows.pos[:, None]) * shift

    return Edit(Site.parse(site), fn, name="change"), fn


_plain = {}


def plain(name):
    if name not in _plain:
        _plain[name] = capture(shared_model(name), PROMPTS, shared_model(name).sites())
    return _plain[name]


# Everything on the main families, and on the others the sites that are found in different ways.
CASES = [
    (n, k) for n in NAMES for k in KINDS if n in SOME or k in ("resid_mid", "v", "attn_out", "mlp_post", "mlp_out")
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_everything_after_an_edit_follows_from_it(name, kind):
    if kind in ARCHITECTURES[name].missing:
        pytest.skip("no such site here")
    model, before = shared_model(name), plain(name)
    hooks = hook_count(model.hf)
    site = Site(kind, 1)
    edit, fn = change(site)
    after = capture(model, PROMPTS, model.sites(), edits=[edit], batch_tokens=30)
    assert hook_count(model.hf) == hooks

    index = after.index
    pos = torch.from_numpy(index.position.astype("int64"))
    wanted = fn(before[site].tensor(), type("Rows", (), {"pos": pos}))
    assert_near(after[site].tensor(), wanted, "the read at the edited site")
    assert (wanted - before[site].tensor()).abs().max() > 0.3, "an edit that changes nothing proves nothing"

    for other in before.sites:
        same = torch.allclose(after[other].tensor(), before[other].tensor(), rtol=1e-4, atol=1e-5)
        if other in reached_first(name, site):
            assert same, f"{other} comes before {site}, or beside it, but changed"
    n = model.n_layers - 1
    assert not torch.allclose(after[Site("resid_post", n)].tensor(), before[Site("resid_post", n)].tensor(), atol=1e-2)
    equations(name, model, after, site)


def reached_first(name, site):
    """Sites that an edit must leave alone: all of the layers before, what precedes it in its own, and its siblings."""
    model = shared_model(name)
    untouched = [s for s in model.sites() if s.kind == "embed" or (s.layer is not None and s.layer < site.layer)]
    before = {
        "resid_pre": [],
        "q": ["resid_pre", "k", "v"],
        "k": ["resid_pre", "q", "v"],
        "v": ["resid_pre", "q", "k", "pattern"],
        "z": ["resid_pre", "q", "k", "v", "pattern"],
        "attn_out": ["resid_pre", "q", "k", "v", "pattern", "z"],
        "resid_mid": ["resid_pre", "q", "k", "v", "pattern", "z", "attn_out"],
    }
    attention = [*before["resid_mid"], *([] if ARCHITECTURES[name].parallel else ["resid_mid"])]
    before |= {
        "mlp_in": attention,
        "mlp_pre": [*attention, "mlp_in"],
        "mlp_post": [*attention, "mlp_in", "mlp_pre"],
        "mlp_out": [*attention, "mlp_in", "mlp_pre", "mlp_post"],
        "resid_post": [*attention, "mlp_in", "mlp_pre", "mlp_post", "mlp_out"],
    }
    if ARCHITECTURES[name].parallel and site.kind in ("q", "k", "v", "z", "attn_out"):
        before[site.kind] = [*before[site.kind], "mlp_in", "mlp_pre", "mlp_post", "mlp_out"]
    return [*untouched, *(s for s in model.sites() if s.layer == site.layer and s.kind in before[site.kind])]


def equations(name, model, acts, edited):
    """Every equation between sites; only the edited site's own cannot hold."""
    arch, s = ARCHITECTURES[name], model.sizes

    def at(kind, layer):
        return acts[Site(kind, layer)].tensor()

    found = {}
    for layer in range(model.n_layers):
        block = model.module(arch.blocks)[layer]
        if arch.parallel:
            found[f"resid_post.{layer}"] = (
                at("resid_pre", layer) + at("attn_out", layer) + at("mlp_out", layer),
                at("resid_post", layer),
            )
        else:
            found[f"resid_mid.{layer}"] = at("resid_pre", layer) + at("attn_out", layer), at("resid_mid", layer)
            found[f"resid_post.{layer}"] = at("resid_mid", layer) + at("mlp_out", layer), at("resid_post", layer)
        if layer:
            found[f"resid_pre.{layer}"] = at("resid_post", layer - 1), at("resid_pre", layer)
        for hidden, out, matrix, norm in (
            ("z", "attn_out", attention_output(block), 0),
            ("mlp_post", "mlp_out", mlp_output(block), 1),
        ):
            if hidden in arch.missing:
                continue
            with torch.no_grad():
                got = matrix(at(hidden, layer))
                got = getattr(block, POST_NORMS[name][norm])(got) if name in POST_NORMS else got
            found[f"{out}.{layer}"] = got, at(out, layer)
        if arch.pattern:
            longest = max(len(t) for t in PROMPTS.tokens)
            by_hand = []
            for example, tokens in enumerate(PROMPTS.tokens):
                rows, n = torch.from_numpy(acts.index.example == example), len(tokens)
                weights = at("pattern", layer)[rows].reshape(n, s.n_heads, longest)[..., :n]
                values = at("v", layer)[rows].reshape(n, s.n_kv_heads, s.d_head)
                values = values.repeat_interleave(s.n_heads // s.n_kv_heads, dim=1)
                by_hand.append(torch.einsum("qhk,khd->qhd", weights, values).reshape(n, -1))
            found[f"z.{layer}"] = torch.cat(by_hand), at("z", layer)
    for what, (want, got) in found.items():
        if what == str(edited):
            assert (want - got).abs().max() > 0.1, f"{what} was edited, yet is what it would be without"
        else:
            assert_near(got, want, f"equation of {what}")

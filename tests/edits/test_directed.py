"""Adding in typical lengths, clamping, projecting, ablating heads: against the formula, and what each refuses."""

from __future__ import annotations

import pytest
import torch

from interp import PromptSet, ablate, add, capture, forward
from interp.edits import Edit, ablate_heads, clamp, project, read_heads
from interp.errors import EditError
from interp.sites import Site
from tests.identity.architectures import SOME, assert_near, ragged, shared_model

PROMPTS = PromptSet.from_tokens(ragged((6, 11, 3, 9)))
SITE = "resid_mid.1"


def at(name):
    """A site that the architecture has, and its width."""
    site = Site("resid_post", 1)
    return site, shared_model(name).resolve(site).width


def rows(name, site, edits=()):
    return capture(shared_model(name), PROMPTS, [site], edits=edits)[site].tensor()


@pytest.mark.parametrize("name", SOME)
def test_edits_along_a_direction_follow_their_formula(name):
    site, width = at(name)
    v = torch.randn(width)
    u, plain = v / v.norm(), rows(name, site)
    now = plain @ u
    cases = {
        "add in norms": (add(site, v, -1.5, norm=2.0), plain - 3.0 * u),
        "clamp to a value": (clamp(site, v, 0.7), plain + (0.7 - now)[:, None] * u),
        "clamp to a range": (clamp(site, v, (-0.5, 0.5)), plain + (now.clamp(-0.5, 0.5) - now)[:, None] * u),
        "cap": (clamp(site, v, (None, 0.0)), plain + (now.clamp(max=0.0) - now)[:, None] * u),
        "floor": (clamp(site, v, (0.0, None)), plain + (now.clamp(min=0.0) - now)[:, None] * u),
        "project": (project(site, v[None]), now[:, None] * u),
        "clamp to nothing is ablation": (clamp(site, v, 0.0), rows(name, site, [ablate(site, "direction", v)])),
    }
    for what, (edit, want) in cases.items():
        assert_near(rows(name, site, [edit]), want, what)
        assert (want - plain).abs().max() > 0.05, f"{what} changes nothing"


def test_projection_on_a_subspace_about_an_offset():
    site, width = at("llama")
    basis, offset = torch.randn(3, width), torch.randn(width)
    again = torch.cat([basis, basis[:1] * 2])  # a dependent row counts once
    got = rows("llama", site, [project(site, again, offset=offset)])
    q = torch.linalg.qr(basis.T).Q
    assert_near(got, offset + (rows("llama", site) - offset) @ q @ q.T, "projected")
    both = [project(site, basis), ablate(site, "direction", basis[0])]
    assert (rows("llama", site, both) @ basis[0]).abs().max() < 1e-4


def test_a_turned_edit_does_the_same_along_another_direction():
    site, width = at("gpt2")
    v, w = torch.randn(width), torch.randn(width)
    for edit, other in (
        (add(site, v, 2.0, at="last", when="prompt"), add(site, w, 2.0, at="last", when="prompt")),
        (ablate(site, "direction", v), ablate(site, "direction", w)),
        (clamp(site, v, 1.5), clamp(site, w, 1.5)),
    ):
        turned = edit.turned(w)
        assert (turned.at, turned.when, turned.name) == (edit.at, edit.when, edit.name)
        assert torch.equal(rows("gpt2", site, [turned]), rows("gpt2", site, [other]))
    for edit in (ablate(site, "zero"), project(site, v[None])):
        with pytest.raises(EditError, match="acts along no direction"):
            edit.turned(w)
    with pytest.raises(EditError, match=r"acts along a vector of shape \[32\]; the other has \[5\]"):
        add(site, v).turned(torch.ones(5))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_ablated_heads_write_what_they_are_told_and_others_what_they_wrote(name):
    model = shared_model(name)
    d, n = model.sizes.d_head, len(PROMPTS)
    sites = read_heads("1.3,0.1")
    plain = capture(model, PROMPTS, ["z.0", "z.1"])
    values = {s: torch.randn(n, d) for s in sites}
    example = torch.from_numpy(plain.index.example.astype("int64"))
    for kind, given, want in (
        ("zero", None, {s: torch.zeros(len(example), d) for s in sites}),
        ("mean", {s: v[0] for s, v in values.items()}, {s: values[s][0].expand(len(example), d) for s in sites}),
        ("resample", values, {s: values[s][example] for s in sites}),
    ):
        edits = ablate_heads("1.3,0.1", kind, given)
        got = capture(model, PROMPTS, ["z.0", "z.1"], edits=edits)
        early = got["z.0"].tensor()
        assert torch.equal(early[:, d : 2 * d], want[Site("z", 0, 1)])
        assert torch.equal(early[:, :d], plain["z.0"].tensor()[:, :d])
        assert torch.equal(got["z.1"].tensor()[:, 3 * d :], want[Site("z", 1, 3)])
        assert (forward(model, PROMPTS, edits=edits).logits - forward(model, PROMPTS).logits).abs().max() > 0.01


def test_heads_are_read_as_papers_write_them():
    want = (Site("z", 3, 2), Site("z", 4, 0))
    assert read_heads("3.2,4.0") == read_heads([(3, 2), (4, 0)]) == read_heads(["z.3.h2", Site("z", 4, 0)]) == want
    for wrong, why in (("3", "cannot read head '3'"), ("", "cannot read head ''"), ("3.2,3.2", "3.2 is given twice")):
        with pytest.raises(EditError, match=why):
            read_heads(wrong)
    with pytest.raises(EditError, match=r"cannot read head 'z\.3'"):
        read_heads([Site("z", 3)])


def test_refusals(unchecked):
    v = torch.ones(32)
    for make, why in (
        (lambda: add(SITE, v, norm=0.0), "a typical length of activations is a positive number"),
        (lambda: add(SITE, v, norm=float("nan")), "a typical length of activations is a positive number"),
        (lambda: add(SITE, 0 * v, norm=1.0), "norm 0"),
        (lambda: clamp(SITE, 0 * v, 1.0), "norm 0"),
        (lambda: clamp(SITE, v, (None, None)), "at most one None"),
        (lambda: clamp(SITE, v, (2.0, 1.0)), "low <= high"),
        (lambda: clamp(SITE, v, float("inf")), "a number"),
        (lambda: project(SITE, v), r"finite basis \[k, width\], got shape \(32,\)"),
        (lambda: project(SITE, torch.zeros(2, 32)), "basis of zeros"),
        (lambda: project(SITE, torch.ones(2, 32), offset=torch.ones(3)), "32 wide, the offset 3"),
        (lambda: ablate_heads("0.1", "mean"), "needs a value for z.0.h1"),
        (lambda: ablate_heads("0.1", "zero", {}), "takes no values"),
        (lambda: ablate_heads("0.1", "direction"), "not 'direction'"),
    ):
        with pytest.raises(EditError, match=why):
            make()
    with pytest.raises(EditError, match="32 wide"):
        forward(shared_model("llama"), PROMPTS, edits=[clamp("q.1.h0", v, 1.0)])


def test_an_edit_is_a_value():
    edit = add(SITE, torch.ones(4))
    assert edit == edit.moved() == Edit(edit.site, edit.fn, name=edit.name, width=4, along=edit.along)
    assert len({edit, edit.moved(), edit.moved(when="prompt")}) == 2
    assert repr(edit) == "Edit(add(1) at resid_mid.1, tokens all, when both)"

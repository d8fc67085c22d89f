"""Conditional edits: decided once per prompt on the prompt as it is, kept for its generated tokens, never shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import PromptSet, add, capture, forward, generate, grads
from interp.edits import Condition, gate
from interp.errors import EditError, PromptError
from tests.identity.architectures import fresh, ragged, shared_model

LENGTHS = (6, 11, 3, 9, 7, 4)
PROMPTS = PromptSet.from_tokens(ragged(LENGTHS)).with_marks(a=[1, 4, 0, 2, 3, 3])
NEW = 6
GENERATOR = torch.Generator().manual_seed(1)
VECTOR = torch.randn(32, generator=GENERATOR) * 3
AXIS = torch.randn(32, generator=GENERATOR)
MODES = [(True, "left"), (False, "left"), (True, "right"), (False, "right")]


def condition(name, site="resid_post.1", mark="last", **options):
    """One that about half of the prompts meet, and which: the threshold lies in the widest gap near the middle."""
    model = shared_model(name)
    rows = capture(model, PROMPTS, site, at=mark)
    x = rows[site].tensor()
    if mark == "all":
        x = torch.stack([x[torch.from_numpy(rows.index.example == i)].mean(0) for i in range(len(PROMPTS))])
    cosine = torch.nn.functional.cosine_similarity(x.double(), AXIS.double()[None], dim=-1)
    ordered = cosine.sort().values
    gaps = ordered[2:5] - ordered[1:4]
    k = int(gaps.argmax()) + 1
    threshold = float((ordered[k] + ordered[k + 1]) / 2)
    made = Condition.on(AXIS, threshold, site=site, mark=mark, **options)
    opens = cosine < threshold if options.get("below") else cosine >= threshold
    return made, opens.numpy()


def texts(model, prompts, edits, **options):
    return [t.tolist() for t in generate(model, prompts, NEW, edits=edits, **options).tokens]


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "gpt_neox"])
def test_met_or_not_a_prompt_is_written_as_if_alone(name):
    """Prompts that meet the condition are as under the plain edit, the others as under none, in any batch or mode."""
    model = shared_model(name)
    made, opens = condition(name)
    edit = add("resid_pre.1", VECTOR)
    steered, plain = texts(model, PROMPTS, [edit]), texts(model, PROMPTS, [])
    want = [s if o else p for s, p, o in zip(steered, plain, opens, strict=True)]
    assert 0 < opens.sum() < len(opens)
    assert all(s != p for s, p in zip(steered, plain, strict=True))
    fired = sum(n + NEW - 1 for n, o in zip(LENGTHS, opens, strict=True) if o)
    for cache, side in MODES:
        if side == "right" and name == "mistral":
            continue
        for budget in (1, 40, 10_000) if name == "llama" else (40,):
            got = generate(
                model, PROMPTS, NEW, edits=[gate(edit, made)], use_cache=cache, padding_side=side, batch_tokens=budget
            )
            assert [t.tolist() for t in got.tokens] == want, (cache, side, budget)
            assert list(got.fired.values()) == [fired]
            [found] = got.opened.values()
            assert np.array_equal(found, opens)
    for i in range(len(PROMPTS)):
        assert texts(model, PROMPTS.select([i]), [gate(edit, made)]) == [want[i]]


@pytest.mark.parametrize("when", ["prompt", "generated"])
def test_what_the_prompt_decided_holds_for_generated_tokens(when):
    """Also where generated tokens, or the edit itself, would have decided otherwise."""
    model = shared_model("llama")
    made, opens = condition("llama")
    # The edit lies before the condition's site and pushes far against the axis: were it seen, no gate would be open.
    edit = add("resid_pre.0", -20 * AXIS / AXIS.norm(), when=when)
    steered, plain = texts(model, PROMPTS, [edit]), texts(model, PROMPTS, [])
    want = [s if o else p for s, p, o in zip(steered, plain, opens, strict=True)]
    for cache, side in MODES:
        assert texts(model, PROMPTS, [gate(edit, made)], use_cache=cache, padding_side=side) == want
    assert want != plain


@pytest.mark.parametrize(("site", "mark", "options"), [
    ("resid_post.2", "a", {}),
    ("mlp_out.0", "all", {}),
    ("resid_post.1", "last", {"below": True}),
    ("z.1.h2", "last", {}),
])  # fmt: skip
def test_conditions_read_any_site_and_mark(site, mark, options):
    model = shared_model("llama")
    if site.startswith("z"):
        rows = capture(model, PROMPTS, site, at=mark)[site].tensor()
        made = Condition.on(rows[2] - rows[0], 0.0, site=site, mark=mark, offset=(rows[2] + rows[0]) / 2)
        opens = made.opens(rows).numpy()
        assert opens[2]
        assert not opens[0]
    else:
        made, opens = condition("llama", site, mark, **options)
    edit = add("resid_pre.1", VECTOR)
    alone = forward(model, PROMPTS, edits=[edit]).logits
    got = forward(model, PROMPTS, edits=[gate(edit, made)])
    plain = forward(model, PROMPTS).logits
    want = torch.where(torch.from_numpy(opens)[:, None], alone, plain)
    assert torch.allclose(got.logits, want, atol=1e-4)
    assert np.array_equal(next(iter(got.opened.values())), opens)


def test_each_edit_has_its_own_condition():
    model = shared_model("gpt2")
    made, opens = condition("gpt2")
    other, opposite = condition("gpt2", below=True)
    assert np.array_equal(opens, ~opposite)
    one, two = add("resid_pre.1", VECTOR), add("resid_pre.2", -VECTOR, at="last")
    got = forward(model, PROMPTS, at="all", edits=[gate(one, made), gate(two, other)])
    a, b = (forward(model, PROMPTS, at="all", edits=[e]).logits for e in (one, two))
    example = np.repeat(np.arange(len(PROMPTS)), LENGTHS)
    want = torch.where(torch.from_numpy(opens[example])[:, None], a, b)
    assert torch.allclose(got.logits, want, atol=1e-4)
    assert [v.tolist() for v in got.opened.values()] == [opens.tolist(), opposite.tolist()]


def test_gradients_see_the_same_condition():
    model = shared_model("llama")
    made, opens = condition("llama")
    edit = add("resid_pre.1", VECTOR)

    def metric(logits, _example):
        return logits[:, 5]

    got = grads(model, PROMPTS, "resid_post.2", metric, at="last", edits=[gate(edit, made)]).metric
    on, off = (grads(model, PROMPTS, "resid_post.2", metric, at="last", edits=e).metric for e in ([edit], []))
    assert torch.allclose(got, torch.where(torch.from_numpy(opens), on, off), atol=1e-4)


def test_a_condition_that_nobody_meets_is_no_mistake_but_an_idle_edit_is():
    model = shared_model("gpt2")
    never = Condition.on(AXIS, 1.1, site="resid_post.1", mark="last")
    edit = add("resid_pre.1", VECTOR)
    got = generate(model, PROMPTS, 3, edits=[gate(edit, never)])
    assert list(got.fired.values()) == [0]
    assert not next(iter(got.opened.values())).any()
    assert [t.tolist() for t in got.tokens] == [t.tolist() for t in generate(model, PROMPTS, 3).tokens]
    always = Condition.on(AXIS, -1.1, site="resid_post.1", mark="last")
    with pytest.raises(EditError, match=r"never fired: Edit\(add\(1\) at resid_pre.1.*if cosine at resid_post.1"):
        generate(model, PROMPTS, 1, edits=[gate(add("resid_pre.1", VECTOR, when="generated"), always)])


def test_nothing_is_kept_between_runs():
    """The same edit on other prompts, and on the same prompts after the model has changed, is decided anew."""
    model = fresh("gpt2")
    made, opens = condition("gpt2")
    edit = gate(add("resid_pre.1", VECTOR), made)
    first = next(iter(forward(model, PROMPTS, edits=[edit]).opened.values()))
    back = PROMPTS.select(np.arange(len(PROMPTS))[::-1])
    assert np.array_equal(next(iter(forward(model, back, edits=[edit]).opened.values())), first[::-1])
    assert np.array_equal(first, opens)
    with torch.no_grad():
        model.module("transformer.h.1.mlp.c_proj").bias -= 50 * AXIS
    assert not next(iter(forward(model, PROMPTS, edits=[edit]).opened.values())).any()


def test_refusals(unchecked):
    model = shared_model("gpt2")
    edit = add("resid_pre.1", VECTOR)
    with pytest.raises(EditError, match="needs site= and mark="):
        Condition.on(AXIS, 0.0)
    with pytest.raises(EditError, match="norm 0"):
        Condition.on(0 * AXIS, 0.0, site="resid_post.1", mark="last")
    with pytest.raises(EditError, match="NaN"):
        Condition.on(AXIS, float("nan"), site="resid_post.1", mark="last")
    with pytest.raises(EditError, match="offset of shape"):
        Condition.on(AXIS, 0.0, site="resid_post.1", mark="last", offset=torch.ones(3))
    with pytest.raises(EditError, match=r"its condition is 5 wide, but rows at resid_post\.1 are 32 wide"):
        forward(model, PROMPTS, edits=[gate(edit, Condition.on(AXIS[:5], 0, site="resid_post.1", mark="last"))])
    with pytest.raises(PromptError, match="no mark 'verb'"):
        forward(model, PROMPTS, edits=[gate(edit, Condition.on(AXIS, 0, site="resid_post.1", mark="verb"))])
    once = gate(edit, Condition.on(AXIS, 0, site="resid_post.1", mark="last"))
    with pytest.raises(EditError, match="has a condition already"):
        gate(once, Condition.on(AXIS, 0, site="resid_post.1", mark="last"))

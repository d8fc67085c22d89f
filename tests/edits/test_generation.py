"""When and where edits act while text is generated: under a cache, either padding side, and after a text has ended."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import Edit, PromptSet, add, forward, generate
from interp.errors import EditError, PromptError
from interp.sites import Site
from tests.identity.architectures import fresh, ragged, shared_model

LENGTHS = (6, 11, 3, 9)
PROMPTS = PromptSet.from_tokens(ragged(LENGTHS)).with_marks(a=[1, 4, 0, 2], b=[3, 4, 2, 8])
NEW = 6
VECTOR = torch.randn(32, generator=torch.Generator().manual_seed(1)) * 3


def by_hand(name, chosen, end=None):
    """Greedy text of each prompt alone without a cache; ``chosen(example, position)`` tokens get the vector."""
    hf = shared_model(name).hf
    block = hf.get_submodule({"gpt2": "transformer.h.1", "llama": "model.layers.1", "mistral": "model.layers.1"}[name])
    out, seen = [], set()
    for example, tokens in enumerate(PROMPTS.tokens):

        def pre(_module, args, kwargs, example=example):
            x = args[0].clone()
            for position in range(x.shape[1]):
                if chosen(example, position):
                    x[0, position] += VECTOR
                    seen.add((example, position))
            return (x, *args[1:]), kwargs

        handle = block.register_forward_pre_hook(pre, with_kwargs=True)
        ids = torch.tensor(tokens)[None]
        with torch.no_grad():
            for _ in range(NEW):
                ids = torch.cat([ids, hf(ids, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
                if int(ids[0, -1]) == end:
                    break
        handle.remove()
        out.append(ids[0, len(tokens) :].tolist())
    return out, len(seen)


WHERE = {
    "prompt": ({"when": "prompt"}, lambda i, p: p < LENGTHS[i]),
    "generated": ({"when": "generated"}, lambda i, p: p >= LENGTHS[i]),
    "both": ({}, lambda i, p: True),
    "last": ({"at": "last"}, lambda i, p: p == LENGTHS[i] - 1),
    "a to b": ({"at": ("a", "b")}, lambda i, p: PROMPTS.marks["a"][i] <= p <= PROMPTS.marks["b"][i]),
}
MODES = [(True, "left"), (False, "left"), (True, "right"), (False, "right")]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral"])
def test_edits_act_where_and_when_they_say(name, where):
    options, chosen = WHERE[where]
    want, n = by_hand(name, chosen)
    assert want != by_hand(name, lambda i, p: False)[0]
    for cache, side in MODES:
        if side == "right" and name == "mistral":
            continue
        for budget in (1, 40, 10_000):
            edit = add("resid_pre.1", VECTOR, **options)
            got = generate(
                shared_model(name), PROMPTS, NEW, edits=[edit], use_cache=cache, padding_side=side, batch_tokens=budget
            )
            assert [t.tolist() for t in got.tokens] == want, (where, cache, side, budget)
            assert list(got.fired.values()) == [n], (where, cache, side, budget)


@pytest.mark.parametrize(("cache", "side"), MODES)
def test_nothing_fires_on_a_text_that_has_ended(cache, side):
    free, _ = by_hand("llama", lambda i, p: True)
    end = free[0][2]
    want, n = by_hand("llama", lambda i, p: True, end)
    assert len({len(w) for w in want}) > 1
    model = fresh("llama")
    model.hf.generation_config.eos_token_id = end
    got = generate(model, PROMPTS, NEW, edits=[add("resid_pre.1", VECTOR)], use_cache=cache, padding_side=side)
    assert [t.tolist() for t in got.tokens] == want
    assert list(got.fired.values()) == [n]


@pytest.mark.parametrize(("cache", "side"), MODES)
def test_functions_are_told_the_example_and_the_position(cache, side):
    seen = set()

    def fn(x, rows):
        assert len(x) == len(rows.example) == len(rows.pos)
        seen.update(zip(rows.example.tolist(), rows.pos.tolist(), strict=True))
        return x

    generate(
        shared_model("gpt2"), PROMPTS, NEW, edits=[Edit(Site("resid_pre", 1), fn)], use_cache=cache, padding_side=side,
        batch_tokens=50,
    )  # fmt: skip
    assert seen == {(i, p) for i, n in enumerate(LENGTHS) for p in range(n + NEW - 1)}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_pattern_edits(name, cache, side):
    """Columns are key positions whatever the batch: all tokens turn a blind eye to the prompt's first token but one."""

    def blind(x, rows):
        weights = x.reshape(len(x), 4, -1).clone()
        weights[rows.pos > 1, :, 1] = 0
        return weights.reshape(x.shape)

    model = shared_model(name)
    edit = Edit(Site("pattern", 1), blind)
    lengths = (6, 6) if name == "mistral" and side == "right" else (6, 11, 3, 9, 6)
    prompts = PromptSet.from_tokens(ragged(lengths))
    together = generate(model, prompts, NEW, edits=[edit], use_cache=cache, padding_side=side)
    assert list(together.fired.values()) == [sum(len(t) + NEW - 1 for t in prompts.tokens)]
    for i in range(len(prompts)):
        alone = generate(model, prompts.select([i]), NEW, edits=[edit], use_cache=False)
        assert together.tokens[i].tolist() == alone.tokens[0].tolist()
    plain = generate(model, prompts, NEW)
    assert [t.tolist() for t in plain.tokens] != [t.tolist() for t in together.tokens]
    with pytest.raises(PromptError, match="'pattern' columns are key positions: use padding_side='right'"):
        forward(model, prompts, edits=[edit], padding_side="left")


def test_an_edit_that_never_fires_raises():
    model = shared_model("gpt2")
    edit = add("resid_pre.1", VECTOR, when="generated")
    with pytest.raises(EditError, match=r"never fired: Edit\(add\(1\) at resid_pre.1, tokens all, when generated\)"):
        generate(model, PROMPTS, 1, edits=[edit])  # the one new token is never read
    assert sum(generate(model, PROMPTS, 2, edits=[edit]).fired.values()) == len(PROMPTS)


def test_marks_that_do_not_fit():
    model = shared_model("gpt2")
    with pytest.raises(PromptError, match=r"no mark 'verb' in these prompts; marks: 'last', 'a', 'b'"):
        generate(model, PROMPTS, 1, edits=[add("resid_pre.1", VECTOR, at="verb")])
    with pytest.raises(EditError, match="'b' comes after 'a' in prompt '0'"):
        generate(model, PROMPTS, 1, edits=[add("resid_pre.1", VECTOR, at=("b", "a"))])
    lacking = PROMPTS.with_marks(verb=[2, -1, -1, 3])
    with pytest.raises(PromptError, match=r"2 of 4 prompts have no 'verb' \(the first: 1, 2\)"):
        generate(model, lacking, 1, edits=[add("resid_pre.1", VECTOR, at="verb")])
    assert np.array_equal(generate(model, lacking.select([0, 3]), 1).tokens[0], generate(model, PROMPTS, 1).tokens[0])

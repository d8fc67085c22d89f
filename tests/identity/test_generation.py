"""Generated text does not depend on the cache, the batch or the padding side, and greedy text is Hugging Face's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import PromptSet, generate
from interp.errors import EmptyPromptsError, ModelError, PromptError, PromptTooLongError
from tests.identity.architectures import ARCHITECTURES, NAMES, SOME, assert_near, fresh, ragged, shared_model

NEW = 14  # more than a window


def some_prompts():
    return PromptSet.from_tokens([*ragged((3, 5, 1), prefix=12), *ragged((4, 9, 1, 20))])


def texts(generations):
    return [t.tolist() for t in generations.tokens]


def windowed(name):
    return ARCHITECTURES[name].window is not None or name == "gpt_neo"


@pytest.fixture(scope="module", params=NAMES)
def greedy(request):
    """Every prompt alone, by plain Hugging Face forward passes over the whole text: no cache, no padding."""
    hf = shared_model(request.param).hf
    written = []
    for tokens in some_prompts().tokens:
        ids = torch.tensor(tokens)[None]
        with torch.no_grad():
            for _ in range(NEW):
                ids = torch.cat([ids, hf(ids, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        written.append(ids[0, len(tokens) :].tolist())
    assert len({tuple(w) for w in written}) > 3, "prompts that all continue alike prove little"
    return request.param, written


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("budget", [1, 80, 10_000])
def test_greedy(greedy, cache, budget):
    name, written = greedy
    got = generate(shared_model(name), some_prompts(), NEW, use_cache=cache, batch_tokens=budget)
    assert texts(got) == written
    assert not got.finished.any()
    assert got.texts is None  # no tokenizer


@pytest.mark.parametrize("cache", [True, False])
def test_right_padding(greedy, cache):
    name, written = greedy
    if windowed(name):
        with pytest.raises(ModelError, match="right padding puts holes into this model's attention window of 8 tokens"):
            generate(shared_model(name), some_prompts(), NEW, use_cache=cache, padding_side="right")
        return
    got = generate(shared_model(name), some_prompts(), NEW, use_cache=cache, padding_side="right")
    assert texts(got) == written


@pytest.mark.parametrize("name", ["mistral", "gpt_neo"])
def test_right_padding_is_allowed_where_the_window_is_not_outgrown_or_nothing_is_padded(name):
    model = shared_model(name)
    short = PromptSet.from_tokens(ragged((2, 4)))
    alike = PromptSet.from_tokens(ragged((9, 9)))
    for prompts, new in ((short, 3), (alike, 5)):
        right, left = (generate(model, prompts, new, padding_side=side) for side in ("right", "left"))
        assert texts(right) == texts(left)


@pytest.mark.parametrize("name", SOME)
def test_greedy_is_what_hugging_face_generates(name):
    model, prompts = shared_model(name), some_prompts()
    got = texts(generate(model, prompts, NEW))
    for tokens, mine in zip(prompts.tokens, got, strict=True):
        ids = torch.tensor(tokens)[None]
        out = model.hf.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False)
        assert mine == out[0, len(tokens) :].tolist()


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("budget", [1, 10_000])
def test_ends(cache, budget):
    """A text ends with its end token, which is kept; others of its batch go on."""
    model = fresh("llama")
    free = texts(generate(model, some_prompts(), NEW))
    end = free[0][4]
    model.hf.generation_config.eos_token_id = [end, 2]
    wanted = [t[: t.index(end) + 1] if end in t else t for t in free]
    assert len({len(t) for t in wanted}) > 1
    got = generate(model, some_prompts(), NEW, use_cache=cache, batch_tokens=budget)
    assert texts(got) == wanted
    assert got.finished.tolist() == [end in t for t in free]


def test_stops_when_all_have_ended():
    model = fresh("llama")
    prompts = some_prompts().select([0])
    [free] = texts(generate(model, prompts, NEW))
    model.hf.generation_config.eos_token_id = free[2]
    calls = []
    model.hf.register_forward_pre_hook(lambda *_: calls.append(1))
    generate(model, prompts, NEW)
    assert len(calls) == free.index(free[2]) + 1


def test_sampling_is_reproducible_and_independent_of_the_batch():
    model, prompts = shared_model("gpt2"), some_prompts()
    one = texts(generate(model, prompts, NEW, temperature=1.0, seed=3))
    assert one == texts(generate(model, prompts, NEW, temperature=1.0, seed=3))
    assert one == texts(generate(model, prompts, NEW, temperature=1.0, seed=3, batch_tokens=1))
    assert one == texts(generate(model, prompts, NEW, temperature=1.0, seed=3, use_cache=False, padding_side="right"))
    assert one != texts(generate(model, prompts, NEW, temperature=1.0, seed=4))
    torch.manual_seed(99)
    assert one == texts(generate(model, prompts, NEW, temperature=1.0, seed=3)), "it reads the global generator"


def test_sampling_follows_the_softmax():
    model = shared_model("gpt2")
    [tokens] = ragged((6,))
    n = 3000
    prompts = PromptSet.from_tokens([tokens] * n)
    with torch.no_grad():
        logits = model.hf(torch.tensor(tokens)[None]).logits[0, -1].double()
    for temperature in (1.0, 3.0):
        drawn = np.concatenate(generate(model, prompts, 1, temperature=temperature, batch_tokens=8000).tokens)
        share = torch.from_numpy(np.bincount(drawn, minlength=len(logits)) / n)
        want = (logits / temperature).softmax(-1)
        spread = (want * (1 - want) / n).sqrt()
        assert ((share - want).abs() <= 5 * spread + 2 / n).all()
    assert texts(generate(model, prompts.select([0]), 5, temperature=2.0, top_p=1e-6)) == texts(
        generate(model, prompts.select([0]), 5)
    )
    nucleus = (logits / 2).softmax(-1).sort(descending=True)
    kept = set(nucleus.indices[: int((nucleus.values.cumsum(-1) < 0.5).sum()) + 1].tolist())
    drawn = np.concatenate(generate(model, prompts, 1, temperature=2.0, top_p=0.5, batch_tokens=8000).tokens)
    assert set(drawn.tolist()) == kept


def test_refusals():
    model = shared_model("llama")
    prompts = some_prompts()
    with pytest.raises(PromptTooLongError, match=r"prompt '6' has 20 tokens; with 50 new ones .* context of 64"):
        generate(model, prompts, 50)
    for wrong in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(PromptError, match="max_new_tokens must be at least 1"):
            generate(model, prompts, **{"max_new_tokens": 3, **wrong})
    with pytest.raises(PromptError, match="padding_side='centre'"):
        generate(model, prompts, 3, padding_side="centre")
    with pytest.raises(PromptError, match="batch_tokens"):
        generate(model, prompts, 3, batch_tokens=0)
    with pytest.raises(PromptError, match=r"token id 400, but the model knows 0 to 96"):
        generate(model, PromptSet.from_tokens([[5, 400]]), 3)
    with pytest.raises(EmptyPromptsError):
        generate(model, PromptSet.from_tokens([]), 3)


# -- the trap --


def test_left_padding_without_positions_is_wrong_on_plain_gpt2_and_right_here():
    """Hugging Face's GPT-2 counts positions from the padding on, whatever the mask says; a mask alone is not enough."""
    from interp import forward

    model, prompts = shared_model("gpt2"), some_prompts()
    width = max(len(t) for t in prompts.tokens)
    ids = torch.stack([torch.tensor([0] * (width - len(t)) + t.tolist()) for t in prompts.tokens])
    mask = torch.stack([torch.tensor([0] * (width - len(t)) + [1] * len(t)) for t in prompts.tokens])
    with torch.no_grad():
        right = torch.cat([model.hf(torch.tensor(t)[None]).logits[:, -1] for t in prompts.tokens])
        naive = model.hf(ids, attention_mask=mask).logits[:, -1]
    assert (naive - right).abs().max() > 1, "the trap is gone: this test no longer shows anything"
    for side in ("left", "right"):
        assert_near(forward(model, prompts, padding_side=side).logits, right, f"{side} padding")

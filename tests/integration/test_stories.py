"""A real trained model (stories260K) and real stories."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from interp import PromptSet, ablate, capture, capture_stats, forward, generate, grads, load_model, verify
from interp.sites import Site
from tests.identity.architectures import assert_near

BEGINNING = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."


@pytest.fixture(scope="module")
def model(shared):
    return load_model(shared / "models" / "stories260K", device="cpu")


@pytest.fixture(scope="module")
def stories(shared, model):
    texts = [
        s if isinstance(s, str) else s["text"]
        for s in json.loads((shared / "text" / "tinystories_1000.json").read_text())
    ]
    prompts = PromptSet.from_texts(texts[:40], model.tokenizer)
    return prompts.fit(model.n_ctx, truncate="right")


def test_hidden_states(model, stories):
    some = stories.select(slice(0, 6))
    acts = capture(model, some, "resid_pre.0,resid_post,logits")
    with torch.no_grad():
        outs = [model.hf(torch.tensor(t)[None], output_hidden_states=True) for t in some.tokens]
        assert_near(acts["resid_pre.0"].tensor(), torch.cat([o.hidden_states[0][0] for o in outs]), "resid_pre.0")
        for layer in range(model.n_layers - 1):
            want = torch.cat([o.hidden_states[layer + 1][0] for o in outs])
            assert_near(acts[Site("resid_post", layer)].tensor(), want, f"resid_post.{layer}")
        last = acts[Site("resid_post", model.n_layers - 1)].tensor()
        assert_near(
            model.hf.model.norm(last), torch.cat([o.hidden_states[-1][0] for o in outs]), "after the final norm"
        )
        assert_near(acts["logits"].tensor(), torch.cat([o.logits[0] for o in outs]), "logits")


def test_it_predicts_english(model, stories):
    """Two nats a token: numbers that are near each other but wrong would not know the next token."""
    acts = capture(model, stories, "logits")
    same = acts.index.example[1:] == acts.index.example[:-1]
    rows = np.flatnonzero(same)
    log_probs = acts["logits"].tensor().log_softmax(-1)
    loss = -log_probs[rows, torch.from_numpy(acts.index.token[rows + 1].astype("int64"))].mean()
    assert 1.0 < loss < 2.0


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_known_story(model, cache, side):
    prompts = PromptSet.from_tokens([[1], [1, 403, 407], [1]], ids=["empty", "other", "again"])
    got = generate(model, prompts, 45, use_cache=cache, padding_side=side)
    assert got.texts[0].strip().startswith(BEGINNING)
    assert got.texts[0] == got.texts[2]
    assert got.tokens[0].tolist() == model.hf.generate(
        torch.tensor([[1]]), attention_mask=torch.ones(1, 1, dtype=torch.long), max_new_tokens=45, do_sample=False
    )[0, 1:].tolist()  # fmt: skip


def test_it_ends_its_stories(model, monkeypatch):
    """This model ends a story by beginning the next; what comes after the end of the shorter one is not kept."""
    monkeypatch.setattr(model.hf.generation_config, "eos_token_id", [1, 2])
    prompts = PromptSet.from_tokens([[1], [1, 403], [1, 403, 407]])
    got = generate(model, prompts, 360)
    assert got.finished.all()
    assert [len(t) for t in got.tokens] == [346, 345, 344]
    assert all(t[-1] == 1 and 1 not in t[:-1] for t in got.tokens)


def test_padding_that_equals_a_real_token(model):
    """An end token inside a prompt is a token like any other, and padding is none whatever its id."""
    [tokens] = PromptSet.from_texts(["The cat sat."], model.tokenizer).tokens
    inside = np.concatenate([tokens, [2], tokens])
    prompts = PromptSet.from_tokens([inside, tokens, np.concatenate([tokens, [2]])], tokenizer=model.tokenizer)
    acts = capture(model, prompts, "resid_post.4,logits", share_prefix=False)
    with torch.no_grad():
        want = torch.cat([model.hf(torch.tensor(t)[None]).logits[0] for t in prompts.tokens])
    assert len(acts) == sum(len(t) for t in prompts.tokens)
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id == 2
    assert acts.index.special[acts.index.token == 2].all()
    assert_near(acts["logits"].tensor(), want, "logits")
    left = capture(model, prompts, "logits", padding_side="left")
    assert_near(left["logits"].tensor(), want, "logits, left")
    texts = generate(model, prompts, 10).texts
    alone = [generate(model, prompts.select([i]), 10).texts[0] for i in range(3)]
    assert list(texts) == alone


def test_packing_and_sharing_change_nothing(model, stories):
    stories = stories.select(slice(0, 25))
    plain = capture(model, stories, "resid_post", share_prefix=False)
    for options in ({"pack": True}, {"share_prefix": True}, {"padding_side": "left"}, {"batch_tokens": 600}):
        other = capture(model, stories, "resid_post", **options)
        for site in plain.sites:
            assert_near(other[site].tensor(), plain[site].tensor(), f"{site} {options}", 1e-4)


def test_stories_into_a_store(model, stories, tmp_path):
    stored = capture(model, stories, "resid_post", out=tmp_path / "s", dtype="float16", shard_bytes=400_000)
    memory = capture(model, stories, "resid_post")
    result = verify(tmp_path / "s")
    assert result.ok
    assert result.shards_listed > 5
    assert result.rows == len(memory) == stories.n_tokens
    for site in memory.sites:
        assert_near(stored[site].tensor().float(), memory[site].tensor(), f"{site}", 1e-3)
    means = capture_stats(model, stories, "resid_post")
    assert_near(means.mean("resid_post.2"), memory["resid_post.2"].tensor().double().mean(0), "streamed mean")


def test_attention_is_needed(model, stories):
    """Edits do what they say on a real model: without any attention the loss is far worse."""
    cut = [ablate(Site("attn_out", layer), "zero") for layer in range(model.n_layers)]
    some = stories.select(slice(0, 20))
    targets = torch.tensor([t[-1] for t in some.tokens])
    shorter = PromptSet.from_tokens([t[:-1] for t in some.tokens])

    def loss(edits):
        return torch.nn.functional.cross_entropy(forward(model, shorter, edits=edits).logits, targets)

    assert loss(cut) > loss([]) + 1


def test_gradients_point_downhill(model, stories):
    """A step along the gradient of a logit raises it by about what the gradient says."""
    from interp import Edit

    some = stories.select(slice(0, 8))
    found = grads(model, some, "resid_post.2", lambda logits, _: logits[:, 300], at="last")
    slope = found.grads["resid_post.2"].tensor()
    size = 1e-2 / slope.norm(dim=-1, keepdim=True)
    push = Edit(Site("resid_post", 2), lambda x, rows: x + (size * slope)[rows.example], at="last")
    rise = forward(model, some, edits=[push]).logits[:, 300] - forward(model, some).logits[:, 300]
    assert_near(rise, 1e-2 * slope.norm(dim=-1), "rise of the logit", 5e-2)

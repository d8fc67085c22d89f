"""The hand-written model does what its card says, loaded as any user would load it."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from interp import testbeds
from interp.errors import BedError
from interp.testbeds.induction import InductionSpec, demo_prompts, make_weights
from interp.testbeds.induction.prompts import counterfactual
from interp.testbeds.induction.truth import TRUE_EDGES, Patch, edge_effects, edge_names, run
from interp.testbeds.induction.words import ANIMALS, BOS, OBJECTS, SPECIAL, TOKEN_ID, VOCABULARY

PROMPTS = demo_prompts(0)
LABELS = np.array([p.label == "animal" for p in PROMPTS])
GROUPS = np.array([p.group for p in PROMPTS])


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(testbeds.path("induction"), attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(testbeds.path("induction"))


def forward(model, prompts):
    """Outputs for each prompt by itself, unpadded."""
    with torch.inference_mode():
        for prompt in prompts:
            tokens = torch.tensor([[BOS, *(TOKEN_ID[w] for w in prompt.words)]])
            yield prompt, model(tokens, output_attentions=True, output_hidden_states=True)


def test_it_answers_every_prompt_and_attends_where_it_should(model):
    for prompt, out in forward(model, PROMPTS):
        assert VOCABULARY[out.logits[0, -1].argmax()] == prompt.answer
        assert out.logits[0, -1].softmax(-1).max() > 0.99
        # <bos> comes first, so words[i] stands at position i + 1.
        assert out.attentions[1][0, 0, -1, prompt.earlier + 2] > 0.999
        assert torch.diagonal(out.attentions[0][0, 0], -1).min() > 0.999


def test_it_predicts_every_repeat_in_a_long_sequence(model, tokenizer):
    words = [*ANIMALS[:20], *OBJECTS[:10]] * 2
    tokens = tokenizer(" ".join(words), return_tensors="pt").input_ids
    predicted = model(tokens).logits[0, 31:-1].argmax(-1)
    assert tokens.shape[1] == 61
    assert torch.equal(predicted, tokens[0, 32:])


def test_the_first_token_is_not_its_own_predecessor(model):
    # Without <bos> the previous-token head has nothing to attend to at the first position but the position itself.
    tokens = torch.tensor([[5, 9, 7, 5]])
    out = model(tokens, output_attentions=True)
    assert out.logits[0, -1].argmax() == 9
    assert out.attentions[0][0, 0, 0, 0] == 1
    assert out.attentions[1][0, 0, -1, 1] > 0.999


def test_the_norm_is_the_identity_and_every_write_sums_to_zero(model):
    block = model.transformer.h[1]
    stream = torch.cat([out.hidden_states[1][0] for _, out in forward(model, PROMPTS[:20])])
    assert stream.std() > 0.1
    assert stream.mean(-1).abs().max() < 1e-7
    torch.testing.assert_close(block.ln_1(stream), stream, rtol=2e-7, atol=2e-7)
    assert not block.mlp(stream).any()


def test_the_tokenizer_is_one_word_one_token(tokenizer):
    assert tokenizer("cat zebra owl").input_ids == [BOS, TOKEN_ID["cat"], TOKEN_ID["<unk>"], TOKEN_ID["owl"]]
    assert tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))) == list(VOCABULARY)
    assert [tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token] == list(SPECIAL)
    assert tokenizer.chat_template is None
    assert len(VOCABULARY) == len(set(VOCABULARY)) == 56


# --- the truth -----------------------------------------------------------------------------------------------------


def test_the_graph_by_edges_computes_what_the_checkpoint_computes(model):
    weights = {name: w.astype(np.float64) for name, w in make_weights(InductionSpec()).items()}
    for prompt, out in forward(model, PROMPTS[::100]):
        tokens = [BOS, *(TOKEN_ID[w] for w in prompt.words)]
        logits, wrote = run(weights, tokens)
        np.testing.assert_allclose(logits, out.logits[0, -1].numpy(), atol=2e-5)
        np.testing.assert_allclose(
            sum(wrote[n] for n in wrote if n[:2] in ("in", "a0")), out.hidden_states[1][0].numpy(), atol=2e-6
        )


def test_81_edges_four_of_them_true():
    truth = testbeds.truth("induction")
    assert [e.name for e in truth.edges] == [f"{source}->{target}" for source, target in edge_names()]
    assert len(truth.edges) == 81
    assert {e.name for e in truth.edges if e.true} == set(TRUE_EDGES)
    assert min(e.effect for e in truth.edges if e.true) > 0.4
    assert max(e.effect for e in truth.edges if not e.true) < 1e-4
    assert all(e.why for e in truth.edges)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_truth_holds_for_other_seeds_and_prompts(seed):
    effects = edge_effects(make_weights(InductionSpec(seed=seed)), [p.words for p in demo_prompts(seed)[5:50:15]])
    assert {name for name, effect in effects.items() if effect > 0.1} == set(TRUE_EDGES)
    assert max(effect for name, effect in effects.items() if name not in TRUE_EDGES) < 1e-4


def test_a_leak_gives_the_idle_heads_small_effects():
    effects = edge_effects(make_weights(InductionSpec(epsilon=0.02)), [p.words for p in PROMPTS[:60:20]])
    idle = max(effect for name, effect in effects.items() if name not in TRUE_EDGES)
    assert 1e-4 < idle < 0.1 < min(effects[name] for name in TRUE_EDGES)


def test_patching_every_edge_at_once_is_the_counterfactual():
    weights = {name: w.astype(np.float64) for name, w in make_weights(InductionSpec()).items()}
    words = PROMPTS[0].words
    clean, other = ([BOS, *(TOKEN_ID[w] for w in line)] for line in (words, counterfactual(words, 0)))
    wanted, wrote = run(weights, other)
    only, _ = run(weights, clean, Patch("a1.h0", "logits", wrote["a1.h0"]))
    np.testing.assert_allclose(only, wanted, atol=1e-4)
    assert np.abs(only - run(weights, clean)[0]).max() > 1


def test_the_counterfactual_keeps_words_and_end_and_moves_the_rest():
    for seed, prompt in enumerate(PROMPTS[::20]):
        other = counterfactual(prompt.words, seed)
        assert Counter(other) == Counter(prompt.words)
        assert other[-1] == prompt.words[-1]
        assert other.index(other[-1]) != prompt.earlier
        assert prompt.answer not in (other[prompt.earlier + 1], other[other.index(other[-1]) + 1])
    with pytest.raises(BedError, match="leaves a counterfactual"):
        counterfactual(("cat", "owl", "cat"), 0)


# --- the prompts ---------------------------------------------------------------------------------------------------


def test_prompts_are_balanced_in_everything_but_order():
    assert len(PROMPTS) == 520
    assert LABELS.mean() == 0.5
    assert len(set(GROUPS)) == 26
    for animal, thing in zip(PROMPTS[::2], PROMPTS[1::2], strict=True):
        assert (animal.label, thing.label) == ("animal", "object")
        assert animal.pair == thing.pair
        assert animal.group == thing.group == f"{animal.answer}/{thing.answer}"
        assert Counter(animal.words) == Counter(thing.words)
        assert animal.words[-2:] == thing.words[-2:]
        assert animal.earlier == thing.earlier
    for prompt in PROMPTS:
        assert sum(w in ANIMALS for w in prompt.words) * 2 == len(prompt.words)
        assert Counter(prompt.words).most_common(1)[0] == (prompt.words[-1], 2)
        assert len(set(prompt.words)) == len(prompt.words) - 1


def test_shipped_prompts_are_these_prompts():
    lines = (testbeds.path("induction") / "prompts.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(r["text"], r["label"], r["group"], r["pair"], r["answer"]) for r in rows] == [
        (" ".join(p.words), p.label, p.group, p.pair, p.answer) for p in PROMPTS
    ]
    assert len({r["id"] for r in rows}) == len(rows)


# --- where the label can be read -------------------------------------------------------------------------------------


def grouped_auc(features: np.ndarray) -> float:
    """Of a logistic probe on answer words that it has not seen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    scores = cross_val_predict(probe, features, LABELS, groups=GROUPS, cv=GroupKFold(10), method="decision_function")
    return roc_auc_score(LABELS, scores)


def last_by_depth(model) -> list[np.ndarray]:
    states = [[h[0, -1].numpy() for h in out.hidden_states] for _, out in forward(model, PROMPTS)]
    return [np.stack(depth) for depth in zip(*states, strict=True)]


def test_the_label_appears_in_the_second_layer_and_not_before(model):
    embed, first, second = (grouped_auc(x) for x in last_by_depth(model))
    assert embed == pytest.approx(0.5, abs=0.06)
    assert first == pytest.approx(0.5, abs=0.06)
    assert second > 0.99


def test_words_and_length_carry_nothing():
    bag = np.stack([np.bincount([TOKEN_ID[w] for w in p.words], minlength=len(VOCABULARY)) for p in PROMPTS])
    assert grouped_auc(bag) == pytest.approx(0.5, abs=0.06)


def test_an_untrained_twin_has_nothing_but_does_mix_positions(model):
    config = AutoConfig.from_pretrained(testbeds.path("induction"))
    torch.manual_seed(0)
    twin = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    depths = last_by_depth(twin)
    assert max(grouped_auc(x) for x in depths) < 0.6
    # A control that only passed the embedding on would control for nothing.
    assert np.linalg.norm(depths[1] - depths[0]) > 0.05 * np.linalg.norm(depths[0])

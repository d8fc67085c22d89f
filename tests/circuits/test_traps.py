"""Mistakes seen in public code, each as a test that it is not made here."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import interp
from interp import grads, testbeds
from interp.circuits import (
    Circuit,
    EdgeScores,
    Graph,
    NodeScores,
    Pairs,
    attribute,
    exact,
    fit_optimal,
    load_pairs,
    path_patch,
    run_circuits,
    top_edges,
)
from interp.circuits.ablation import make_ablation
from interp.errors import CircuitError
from interp.models.hooks import hook_count
from tests.circuits.conftest import off, random_pairs, small
from tests.circuits.reference import Split
from tests.circuits.test_beds import METHODS, auroc, bed
from tests.circuits.test_circuit import SMALL, scores_of
from tests.circuits.test_pairs import ROW
from tests.identity.architectures import fresh
from tests.models.tiny import word_tokenizer

PAIRS = random_pairs()


@pytest.fixture(scope="module")
def ragged():
    """Pairs of 3, 7 and 5 tokens; and what each node writes on each corrupted prompt run by itself, without padding."""
    rng = np.random.default_rng(0)
    tokens = [rng.integers(8, 97, n).tolist() for n in (3, 7, 5)]
    pairs = Pairs.from_tokens(tokens, [rng.permutation(t).tolist() for t in tokens], answers=[5, 5, 5])
    split = Split(small("gpt2"))
    with torch.no_grad():
        each = [split.run(torch.tensor(t)[None])[1] for t in pairs.corrupted.tokens]
    return pairs, [[w[s][0] for w in each] for s in Graph.of(small("gpt2")).sources]


# ---- means that are none --------------------------------------------------------------------------------------------


def test_a_mean_does_not_read_the_last_token_alone(ragged):
    pairs, wrote = ragged
    got = make_ablation(small("gpt2"), pairs, "mean").means[0]
    last = torch.stack([torch.stack([w[-1] for w in node]).mean(0) for node in wrote])
    assert off(got, torch.stack([torch.cat(node).mean(0) for node in wrote])) < 1e-5
    assert off(got, last) > 1e-2


@pytest.mark.parametrize("n_pairs", [1, 3])
def test_a_mean_is_not_divided_by_the_padded_length_nor_by_the_number_of_prompts(ragged, n_pairs):
    """Every real token counts once, however the prompts are batched: 15 tokens, not 3 prompts of 7."""
    pairs, wrote = ragged
    got = make_ablation(small("gpt2"), pairs, "mean", n_pairs=n_pairs).means[0]
    total = torch.stack([torch.cat(node).sum(0) for node in wrote])
    by_prompt = torch.stack([torch.stack([w.mean(0) for w in node]).mean(0) for node in wrote])
    assert off(15 * got, total) < 1e-5
    assert off(got, total / 21) > 1e-2
    assert off(got, by_prompt) > 1e-2
    by_position = make_ablation(small("gpt2"), pairs, "mean-position", n_pairs=n_pairs).means
    assert off(by_position[6], torch.stack([node[1][6] for node in wrote])) < 1e-5  # one prompt is that long
    assert off(by_position[2], torch.stack([torch.stack([w[2] for w in node]).mean(0) for node in wrote])) < 1e-5


def test_a_mean_does_not_make_one_of_all_nodes(ragged):
    pairs, wrote = ragged
    got = make_ablation(small("gpt2"), pairs, "mean").means[0]
    assert got.shape == (len(wrote), 32)
    gaps = torch.cdist(got, got) + torch.eye(len(got))
    assert gaps.min() > 1e-3


# ---- gradients at the wrong place, arrays under the wrong name -------------------------------------------------------


def test_an_mlps_node_score_takes_the_gradient_where_it_writes():
    """Not where it reads: that would be the score of the edges into it, with the difference of another tensor."""
    model = small("gpt2")
    got = attribute(model, PAIRS, level="node", method="eap", replicates=0)
    sides, sites = (PAIRS.clean, PAIRS.corrupted), ("mlp_out", "resid_mid")
    at = {kind: [grads(model, p, kind, lambda logits, _: logits[:, 5] - logits[:, 7]) for p in sides] for kind in sites}
    for layer in range(3):
        clean, other = at["mlp_out"]
        away = clean.values[f"mlp_out.{layer}"].tensor() - other.values[f"mlp_out.{layer}"].tensor()
        there = float((away * clean.grads[f"mlp_out.{layer}"].tensor()).sum()) / len(PAIRS)
        at_input = float((away * at["resid_mid"][0].grads[f"resid_mid.{layer}"].tensor()).sum()) / len(PAIRS)
        assert got[f"m{layer}"] == pytest.approx(there, rel=1e-4, abs=1e-6)
        assert abs(at_input - there) > 1e-2 * abs(there)


def test_every_array_of_a_result_is_its_own_and_none_can_be_set(tmp_path):
    scores = attribute(small("gpt2"), random_pairs(4), method="eap", replicates=20)
    back = EdgeScores.load(scores.save(tmp_path / "scores.safetensors"))
    arrays = {k: getattr(back, k) for k in ("values", "lo", "hi", "draws")}
    for name, array in arrays.items():
        assert np.array_equal(array, getattr(scores, name)), name
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1
        with pytest.raises(AttributeError):
            setattr(back, name, array.copy())
    assert not np.array_equal(arrays["lo"], arrays["hi"])
    assert (arrays["lo"] <= arrays["hi"]).all()
    nodes = attribute(small("gpt2"), PAIRS, level="node", method="eap", replicates=0)
    with pytest.raises(ValueError, match="read-only"):
        nodes.values[0] = 1


# ---- devices and flags ----------------------------------------------------------------------------------------------


def test_no_device_is_written_into_the_code():
    fixed = re.compile(r"""\.cuda\(\)|(device\s*=\s*|\.to\()["'](cuda|mps)""")
    home = Path(interp.__file__).parent
    read = [p for part in ("circuits", "run", "models", "sae", "testbeds") for p in (home / part).rglob("*.py")]
    assert len(read) > 80
    assert [str(p) for p in read if fixed.search(p.read_text())] == []


def test_nothing_of_the_model_or_of_torch_is_left_changed():
    """No hooks, gradients, frozen weights, training mode, attention implementation or blocks without their forward."""
    model = fresh("llama")
    model.hf.train()
    first = next(model.hf.parameters())
    first.requires_grad_(False)

    def state():
        hf = model.hf
        return (
            hook_count(hf), model.cfg._attn_implementation, torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
            [m.training for m in hf.modules()], [p.requires_grad for p in hf.parameters()],
            [p.grad for p in hf.parameters()], [m for m in hf.modules() if "forward" in vars(m)],
        )  # fmt: skip

    before = state()
    run = {"pairs": PAIRS, "replicates": 0}
    attribute(model, **run)
    for method in ("atp*", "eap-ig-act", "relp"):
        attribute(model, method=method, steps=2, **run)
    attribute(model, method="atp*", grad_drop=True, **run)
    exact(model, edges=["a1.h0->logits", "input->m2"], **run)
    path_patch(model, senders=["input"], **run)
    fit_optimal(model, PAIRS, steps=1)

    def broken(logits, example):
        raise ZeroDivisionError

    for function, more in ((attribute, {}), (attribute, {"method": "relp"}), (exact, {})):
        with pytest.raises(ZeroDivisionError):
            function(model, metric=broken, **run, **more)
    assert state() == before
    assert before[-2] == [None] * len(before[-2])


# ---- numbers that mean something else -------------------------------------------------------------------------------


def test_kl_is_not_divided_by_the_vocabulary():
    model = small("gpt2")
    graph = Graph.of(model)
    with torch.no_grad():
        clean, other = (
            model.hf(torch.tensor(np.stack(p.tokens))).logits[:, -1].double().log_softmax(-1)
            for p in (PAIRS.clean, PAIRS.corrupted)
        )
    [got] = run_circuits(model, PAIRS, [Circuit.of(graph, [])], "kl")
    assert off(got, -(clean.exp() * (clean - other)).sum(-1)) < 1e-4


def test_absolute_and_signed_rankings_are_told_apart_in_the_result_and_in_its_file(tmp_path, unchecked):
    values = np.zeros(SMALL.legal.shape)
    values[0, 10], values[1, 10], values[2, 10] = -5.0, 3.0, 1.0
    by_size, by_sign = (scores_of(SMALL, values, ranking=r) for r in ("absolute", "signed"))
    assert top_edges(by_size, 2).names == ("input->logits", "a0.h0->logits")
    assert top_edges(by_sign, 2).names == ("a0.h0->logits", "a0.h1->logits")
    for scores, ranking in ((by_size, "absolute"), (by_sign, "signed")):
        back = EdgeScores.load(scores.save(tmp_path / f"{ranking}.safetensors"))
        assert back.ranking == top_edges(back, 2).about["ranking"] == ranking
    nodes = attribute(small("gpt2"), PAIRS, level="node", method="eap", ranking="signed", replicates=0)
    assert NodeScores.load(nodes.save(tmp_path / "nodes.safetensors")).ranking == "signed"
    with pytest.raises(CircuitError, match="ranking='both'"):
        scores_of(SMALL, values, ranking="both")
    with pytest.raises(CircuitError, match=f"a circuit of 40 edges from scores of {SMALL.n_edges} edges"):
        top_edges(by_size, 40)
    values[3, 10] = np.nan
    rest = SMALL.n_edges - 1
    assert top_edges(scores_of(SMALL, values), rest).n_edges == rest


@pytest.fixture(scope="module")
def words():
    return word_tokenizer()


def test_unequal_lengths_are_not_accepted_in_silence(words):
    row = {
        **ROW,
        "clean": "the cat sits on",
        "corrupted": "the cat cats sit sits on",
        "answer": " a",
        "wrong_answer": 2,
    }
    with pytest.raises(
        CircuitError, match="5 clean and 7 corrupted tokens; prompts of unequal length need named spans"
    ):
        load_pairs([row], words)
    with pytest.raises(CircuitError, match="no pair of memory can be used: 1 unequal lengths"):
        load_pairs([row], words, unusable="drop")
    spans = {"clean_spans": {"who": "cat"}, "corrupted_spans": {"who": "cat cats sit"}}
    pairs = load_pairs([row | spans], words)
    # <s> the | cat <- sit, the last of the corrupted span | sits on
    assert pairs.columns[0].tolist() == [0, 1, 4, 5, 6]
    assert (pairs.span_names, pairs.span_of(0).tolist()) == (("who", "other"), [1, 1, 0, 1, 1])
    back = {"clean": row["corrupted"], "corrupted": row["clean"]}
    swapped = {"clean_spans": spans["corrupted_spans"], "corrupted_spans": spans["clean_spans"]}
    assert load_pairs([row | back | swapped], words).columns[0].tolist() == [0, 1, 2, 2, 2, 3, 4]
    short = {"clean_spans": {"who": "cat"}, "corrupted_spans": {"who": "cat cats"}}
    with pytest.raises(
        CircuitError, match="2 clean tokens from position 3 stand against 3 corrupted ones from position 4"
    ):
        load_pairs([row | short], words)
    with pytest.raises(CircuitError, match="span 'who' is missing on one side"):
        load_pairs([{**row, "clean_spans": {"who": "cat"}, "corrupted_spans": {}}], words)
    # Nothing of the clean prompt is replaced: the token before, cat, stands for the words that were put in.
    assert load_pairs([row], words, align=True).columns[0].tolist() == [0, 1, 4, 5, 6]


# ---- gradients where attention is sharp -----------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [30.0, pytest.param(50.0, marks=pytest.mark.slow), 100.0])
def test_sharp_attention_saturates_plain_gradients_and_nothing_that_is_meant_for_it(tmp_path, beta):
    """Prints a row of the table in docs/methods/edge-attribution.md."""
    folder = testbeds.build("induction", tmp_path / "bed", beta=beta, epsilon=0.02)
    model, pairs, true, truth = bed("induction", folder, limit=16)
    found = {m: auroc(attribute(model, pairs, replicates=0, **k), true, truth) for m, k in METHODS.items()}
    found["exact"] = auroc(exact(model, pairs, replicates=0), true, truth)
    print(f"\nbeta {beta:g}: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    assert 0.6 < found["eap"] < 0.9
    assert found["clean-corrupted"] < 0.9
    assert max(found["relp"], found["relp-qk"]) < 0.9
    assert min(found[m] for m in ("eap-ig", "eap-ig-act", "atp*")) >= 0.99
    assert found["exact"] == 1.0


def test_the_softmax_rule_is_the_exact_effect_of_a_key(tmp_path):
    """Whatever the sharpness: the edge into the induction head's keys changes its pattern and nothing else."""
    folder = testbeds.build("induction", tmp_path / "bed", beta=60.0)
    model, pairs, _, _ = bed("induction", folder, limit=6)
    edge = "a0.h0->a1.h0<k>"
    rule, plain = (attribute(model, pairs, method=m, replicates=0)[edge] for m in ("atp*", "eap"))
    assert rule == pytest.approx(exact(model, pairs, edges=[edge], replicates=0)[edge], rel=1e-3)
    assert abs(plain) < 1e-3 * abs(rule)

"""What must hold of attribution whatever the model: sums, integrals, chunks, linear models, and what is left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import grads, testbeds
from interp.circuits import Circuit, Graph, Pairs, attribute, exact, load_pairs, run_circuits
from interp.circuits.plan import make_plan
from interp.circuits.scores import EdgeScores, NodeScores
from interp.errors import ArtefactError, CircuitError, TooLargeError
from interp.models import load_model
from tests.circuits.conftest import THREE, off, random_pairs, small
from tests.identity.architectures import NAMES, shared_model

PAIRS = random_pairs()


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_comes_apart_and_together(name):
    """All edges is the model, none is the corrupted run, and a node's score is the sum of its edges'."""
    model = shared_model(name)
    graph = Graph.of(model)
    nodes = attribute(model, PAIRS, method="eap", level="node", replicates=0)
    edges = attribute(model, PAIRS, method="eap", replicates=0)
    assert off(nodes.values, edges.values.sum(1)) < 2e-5
    whole, nothing = run_circuits(model, PAIRS, [Circuit(graph, graph.legal), Circuit.of(graph, [])]).mean(1)
    assert whole == pytest.approx(edges.origin.clean, abs=1e-4)
    assert nothing == pytest.approx(edges.origin.ablated, abs=1e-4)
    assert edges.origin.clean != pytest.approx(edges.origin.ablated, abs=1e-3)


@pytest.mark.parametrize("name", THREE)
def test_the_integral_over_inputs_is_the_whole_change(name):
    scores = attribute(small(name), PAIRS, level="node", steps=24, rule="gauss", replicates=0)
    assert scores["input"] == pytest.approx(scores.origin.clean - scores.origin.ablated, rel=1e-2)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gpt_neox"])
def test_the_integral_over_activations_is_the_exact_effect(name):
    """Of an MLP, which is a layer's one node there; and of the input."""
    model = shared_model(name) if name == "gpt_neox" else small(name)
    kwargs = {"method": "eap-ig-act", "steps": 16, "rule": "gauss", "level": "node", "replicates": 0}
    got, want = attribute(model, PAIRS, **kwargs), exact(model, PAIRS, level="node", replicates=0)
    for node in ("input", "m0", "m2"):
        assert got[node] == pytest.approx(want[node], rel=2e-2, abs=2e-4)


@pytest.mark.parametrize("method", ["eap", "eap-ig", "eap-ig-act", "atp*"])
@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
def test_chunks_change_nothing(method, level):
    """Fewer pairs, steps, heads and columns at a time give the same scores."""
    model = small("llama")
    whole = attribute(model, PAIRS, method=method, level=level, steps=3, replicates=0)
    parts = attribute(model, PAIRS, method=method, level=level, steps=3, replicates=0, max_bytes=300_000)
    plan = parts.origin.details["plan"]
    assert plan["peak"] <= 300_000
    assert plan["pairs"] < 3
    assert off(parts.values, whole.values) < 1e-5


def test_the_plan_keeps_to_its_budget_down_to_single_columns():
    model = small("gpt2")
    graph, seen = Graph.of(model), set()
    for limit in (10_000_000, 1_000_000, 300_000, 250_000):
        plan = make_plan(model, graph, PAIRS, 5, limit)
        assert plan.peak <= limit
        seen.add((plan.pairs, plan.steps, plan.heads, plan.columns))
    assert len(seen) > 2
    with pytest.raises(TooLargeError, match="one pair of 9 tokens takes"):
        make_plan(model, graph, PAIRS, 5, 1_000)


def test_a_linear_model_is_exact(tmp_path):
    """Every edge's score is its exact effect, and what arrives at the logits is the whole change."""
    model = load_model(testbeds.build("and_gate", tmp_path / "bed", linear=True))
    pairs = load_pairs(tmp_path / "bed" / "pairs.jsonl", model.tokenizer, limit=8)
    want = exact(model, pairs, replicates=0)
    for method in ("eap", "eap-ig", "eap-ig-act", "clean-corrupted"):
        got = attribute(model, pairs, method=method, replicates=0)
        change = got.origin.clean - got.origin.ablated
        assert off(got.values, want.values) < 1e-5
        assert got.values[:, -1].sum() == pytest.approx(change, rel=1e-5)
        assert got.values[0].sum() == pytest.approx(change, rel=1e-5)


def test_neurons_are_their_activation_times_the_gradient_there():
    model = small("llama")
    got = attribute(model, PAIRS, level="neuron", method="eap", replicates=0)
    found = grads(model, PAIRS.clean, "mlp_post", lambda logits, _: logits[:, 5] - logits[:, 7])
    other = grads(model, PAIRS.corrupted, "mlp_post", lambda logits, _: logits[:, 5] - logits[:, 7])
    for layer in range(3):
        site = f"mlp_post.{layer}"
        away = found.values[site].tensor() - other.values[site].tensor()
        want = (away * found.grads[site].tensor()).sum(0) / len(PAIRS)
        assert off(got.values[layer], want) < 1e-5
    assert got.rows(1)[0]["neuron"].startswith("m")


def test_metrics_are_what_they_say():
    model = small("gpt2")
    graph = Graph.of(model)
    both = [Circuit(graph, graph.legal), Circuit.of(graph, [])]
    with torch.no_grad():
        clean, other = (
            model.hf(torch.tensor(np.stack(p.tokens))).logits[:, -1].double().log_softmax(-1)
            for p in (PAIRS.clean, PAIRS.corrupted)
        )
    want = {
        "logit_diff": other[:, 5] - other[:, 7],
        "prob_diff": other[:, 5].exp() - other[:, 7].exp(),
        "answer_logp": other[:, 5],
        "kl": -(clean.exp() * (clean - other)).sum(-1),  # a sum over the vocabulary, no mean
    }
    for name, value in want.items():
        assert off(run_circuits(model, PAIRS, both, name)[1], value) < 1e-4
    assert np.abs(run_circuits(model, PAIRS, both, "kl")[0]).max() < 1e-5
    mine = run_circuits(model, PAIRS, both, lambda logits, example: logits[:, 5] * (1 + example))
    assert mine.shape == (2, 3)


def test_several_answers():
    pairs = Pairs.from_tokens([[8, 9]], [[8, 10]], answers=[[5, 6]], wrong=[[7, 11, 12]])
    model = small("gpt2")
    graph = Graph.of(model)
    with torch.no_grad():
        logits = model.hf(torch.tensor([[8, 9]])).logits[0, -1]
    p = logits.softmax(-1)
    want = {
        "logit_diff": logits[[5, 6]].mean() - logits[[7, 11, 12]].mean(),
        "prob_diff": p[[5, 6]].sum() - p[[7, 11, 12]].sum(),
        "answer_logp": p[[5, 6]].sum().log(),
    }
    for name, value in want.items():
        got = run_circuits(model, pairs, [Circuit(graph, graph.legal)], name)
        assert got[0, 0] == pytest.approx(float(value), abs=1e-5)


def test_combinations_that_mean_nothing_are_refused():
    model = small("gpt2")
    cases = [
        ({"metric": "kl", "method": "eap"}, "its gradient is zero"),
        ({"metric": "kl", "method": "atp*"}, "its gradient is zero"),
        ({"method": "atp*", "ablation": "zero"}, "needs ablation='resample'"),
        ({"method": "eap", "grad_drop": True}, "grad_drop is a part of method 'atp\\*'"),
        ({"method": "acdc"}, "there is no method 'acdc'; there are eap"),
        ({"metric": "accuracy"}, "there is no metric 'accuracy'"),
        ({"ablation": "noise"}, "there is no ablation 'noise'"),
        ({"ablation": "mean-span"}, "needs pairs with spans"),
        ({"steps": 0}, "one step or more"),
        ({"rule": "simpson"}, "no rule 'simpson'"),
        ({"by_span": True}, "needs pairs with named spans"),
        ({"metric": lambda logits, _: logits}, "must give one number per row"),
    ]
    for kwargs, message in cases:
        with pytest.raises(CircuitError, match=message):
            attribute(model, PAIRS, replicates=0, **kwargs)
    assert np.abs(attribute(model, PAIRS, "kl", replicates=0).values).max() > 1e-4


def test_what_is_saved_comes_back(tmp_path):
    model = small("gpt2")
    pairs = random_pairs(4, groups=["a", "a", "b", "c"])
    edges = attribute(model, pairs, method="eap", ranking="signed", replicates=20)
    back = EdgeScores.load(edges.save(tmp_path / "edges.safetensors"))
    for name in ("values", "lo", "hi", "draws"):
        assert np.array_equal(getattr(back, name), getattr(edges, name)), name
    assert not np.array_equal(edges.lo, edges.hi)
    for name in ("graph", "ranking", "origin", "provenance", "spans"):
        assert getattr(back, name) == getattr(edges, name), name
    nodes = attribute(model, pairs, method="eap", level="neuron", replicates=20)
    again = NodeScores.load(nodes.save(tmp_path / "nodes.safetensors"))
    assert np.array_equal(again.hi, nodes.hi)
    assert again.level == "neuron"
    with pytest.raises(ArtefactError, match="is not a saved edge_scores"):
        EdgeScores.load(tmp_path / "nodes.safetensors")
    with pytest.raises(ValueError, match="read-only"):
        back.values[0, 0] = 1

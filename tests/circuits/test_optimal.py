"""Optimal ablation: constants against a minimum that is known, against other ablations, and held apart from judging."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from interp import testbeds
from interp.circuits import (
    Circuit,
    Constants,
    Graph,
    Pairs,
    attribute,
    evaluate,
    exact,
    fit_optimal,
    load_pairs,
    run_circuits,
    verify,
)  # fmt: skip
from interp.errors import ArtefactError, CircuitError, ProvenanceError
from interp.models import load_model
from tests.circuits.conftest import logit_gap, off, random_pairs, small, tokens
from tests.circuits.reference import circuit_metric, edge_effects

FIT, JUDGE = random_pairs(5, seed=1), random_pairs(4, seed=2)
CLEAN, CORRUPTED = tokens(JUDGE)


@pytest.fixture(scope="module")
def fitted():
    return fit_optimal(small("gpt2"), FIT, steps=6)


def without_each(model, pairs, metric, ablation):
    """The metric of every pair with each node alone ablated."""
    graph = Graph.of(model)
    circuits = []
    for row in range(len(graph.sources)):
        mask = graph.legal.copy()
        mask[row] = False
        circuits.append(Circuit(graph, mask))
    return run_circuits(model, pairs, circuits, metric, ablation=ablation)


def test_the_minimum_of_a_quadratic(tmp_path):
    """Linear model, squared change of the metric: the best constant leaves the variance of what the node adds to it."""
    model = load_model(testbeds.build("and_gate", tmp_path / "bed", linear=True))
    given = load_pairs(tmp_path / "bed" / "pairs.jsonl", model.tokenizer)
    given = given.select(np.flatnonzero(given.clean.lengths == np.median(given.clean.lengths))[:6])
    yes, no = int(given.answers[0][0]), int(given.wrong[0][0])
    clean, other = ([t.tolist() for t in side.tokens] for side in (given.clean, given.corrupted))
    # Half of the prompts the other way round, so that what nodes write differs from prompt to prompt.
    pairs = Pairs.from_tokens(clean[:3] + other[3:], other[:3] + clean[3:], answers=[yes] * 6, wrong=[no] * 6)
    graph = Graph.of(model)
    whole = run_circuits(model, pairs, [Circuit(graph, graph.legal)])[0]

    def unchanged(logits, example):
        return -(logits[:, yes] - logits[:, no] - torch.tensor(whole)[example]).square()

    added = whole - without_each(model, pairs, "logit_diff", "zero")
    found = fit_optimal(model, pairs, unchanged, steps=30, rate=0.4)
    variance = added.var(1)
    assert variance.max() > 0.1 * np.square(added).mean(1).max() > 0
    assert np.abs(found.losses["optimal"] - variance).max() < 0.01 * variance.max()
    assert np.abs(found.losses["zero"] - np.square(added).mean(1)).max() < 1e-3 * np.square(added).max()


def test_no_constant_is_worse_than_the_mean_or_zero_and_most_are_better(fitted):
    loss = fitted.losses
    assert (loss["optimal"] <= loss["mean"]).all()
    assert (loss["optimal"] <= loss["zero"]).all()
    assert (loss["optimal"] < 0.9 * loss["mean"]).mean() > 0.5
    # Each loss is KL with that node alone ablated, as running it says.
    assert off(-without_each(small("gpt2"), FIT, "kl", "zero").mean(1), loss["zero"]) < 1e-4
    assert off(-without_each(small("gpt2"), FIT, "kl", "mean").mean(1), loss["mean"]) < 1e-4


def test_constants_are_what_results_are_made_with(fitted):
    """Attribution, exact patching and circuits against the written-out forward pass with these constants."""
    model = small("gpt2")
    graph = fitted.graph

    def ablated(other):
        return {n: fitted.values[i].expand_as(other[n]) for i, n in enumerate(graph.sources)}

    edges = ["a0.h1->a2.h0<k>", "m0->logits", "input->m2", "a1.h3->m1"]
    got = exact(model, JUDGE, edges=edges, ablation=fitted, replicates=0)
    assert off([got[e] for e in edges], edge_effects(model, CLEAN, CORRUPTED, logit_gap, edges, ablated)) < 2e-5
    mask = graph.legal & (np.random.default_rng(0).random(graph.legal.shape) < 0.5)
    value = run_circuits(model, JUDGE, [Circuit(graph, mask)], ablation=fitted)[0]
    assert off(value, circuit_metric(model, CLEAN, CORRUPTED, logit_gap, mask, ablated)) < 2e-5
    scores = attribute(model, JUDGE, steps=24, rule="gauss", level="node", ablation=fitted, replicates=0)
    alone = exact(model, JUDGE, level="node", ablation=fitted, replicates=0)
    assert scores["input"] == pytest.approx(alone["input"], rel=2e-2)
    assert scores.origin.ablation == "optimal"
    assert scores.origin.details["constants"]["n_prompts"] == len(FIT)


def test_constants_for_a_circuit_are_fitted_together():
    model = small("gpt2")
    graph = Graph.of(model)
    circuit = Circuit(graph, graph.legal & (np.random.default_rng(1).random(graph.legal.shape) < 0.6))
    together = fit_optimal(model, FIT, circuit=circuit, steps=6)
    by_mean = run_circuits(model, FIT, [circuit], "kl", ablation="mean")[0]
    assert together.losses["mean"][0] == pytest.approx(-by_mean.mean(), rel=1e-4)
    assert together.losses["optimal"][0] < 0.7 * together.losses["mean"][0]
    judged = [-run_circuits(model, JUDGE, [circuit], "kl", ablation=a)[0].mean() for a in (together, "mean", "zero")]
    assert judged[0] < min(judged[1:])


def test_what_is_judged_is_held_apart(fitted, tmp_path):
    model = small("gpt2")
    both = FIT.select([0, 1])
    for function in (attribute, exact):
        with pytest.raises(CircuitError, match=r"2 of 2 pairs \(the first is .*\) are among those that the constants"):
            function(model, both, ablation=fitted, replicates=0)
    with pytest.raises(ProvenanceError, match="the constants of optimal ablation was made with model"):
        run_circuits(small("llama"), JUDGE, [Circuit.of(Graph.of(small("llama")), [])], ablation=fitted)
    with pytest.raises(CircuitError, match="fitted first"):
        attribute(model, JUDGE, replicates=0, ablation="optimal")
    with pytest.raises(CircuitError, match="neurons have none"):
        attribute(model, JUDGE, replicates=0, ablation=fitted, level="neuron")
    with pytest.raises(CircuitError, match="no upper bound"):
        fit_optimal(model, FIT, "logit_diff")
    with pytest.raises(CircuitError, match="at least one step"):
        fit_optimal(model, FIT, steps=0)
    back = Constants.load(fitted.save(tmp_path / "constants.safetensors"))
    assert torch.equal(back.values, fitted.values)
    assert (back.rows(), back.fitted_on, back.provenance) == (fitted.rows(), fitted.fitted_on, fitted.provenance)
    with pytest.raises(ArtefactError, match="is not a saved ablation_constants"):
        Constants.load(attribute(model, JUDGE, replicates=0).save(tmp_path / "scores.safetensors"))


def test_circuits_are_judged_by_the_ablation_they_were_found_with(fitted):
    model = small("gpt2")
    scores = attribute(model, JUDGE, ablation=fitted, replicates=0)
    with pytest.raises(CircuitError, match="give them again as ablation="):
        evaluate(model, JUDGE, scores, sizes=[20], random=0)
    with pytest.raises(CircuitError, match="cannot be judged with 'zero'"):
        evaluate(model, JUDGE, scores, sizes=[20], random=0, ablation="zero")
    report = evaluate(model, JUDGE, scores, sizes=[20], random=0, ablation=fitted)
    assert report.meta["ablation"] == "optimal"
    with pytest.raises(CircuitError, match="give them again as ablation="):
        verify(model, JUDGE, scores, top=2, sample=0)
    assert verify(model, JUDGE, scores, top=2, sample=0, ablation=fitted).meta["ablation"] == "optimal"
    nothing = run_circuits(model, JUDGE, [Circuit.of(scores.graph, [])], ablation=fitted)[0].mean()
    assert report.meta["ablated"] == pytest.approx(nothing, abs=1e-5)


def test_restarts_can_only_help(fitted):
    more, again, once = (fit_optimal(small("gpt2"), FIT, steps=1, restarts=r, seed=3) for r in (1, 1, 0))
    assert (more.losses["optimal"] <= once.losses["optimal"]).all()
    assert torch.equal(again.values, more.values)
    with pytest.raises(CircuitError, match="6 constants for"):
        replace(fitted, values=fitted.values[:6])

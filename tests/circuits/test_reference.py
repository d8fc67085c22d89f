"""Attribution, exact patching and circuits against a split-input forward pass written out for three architectures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.circuits.attribution import attribute
from interp.circuits.circuit import Circuit
from interp.circuits.execute import run_circuits
from interp.circuits.graph import Graph
from interp.circuits.patching import exact
from tests.circuits.conftest import THREE, logit_gap, off, random_pairs, small, tokens
from tests.circuits.reference import Split, circuit_metric, edge_effects, edge_scores

PAIRS = random_pairs()
CLEAN, CORRUPTED = tokens(PAIRS)
ABLATED = {
    "zero": lambda other: {name: torch.zeros_like(x) for name, x in other.items()},
    "mean": lambda other: {name: x.mean((0, 1), keepdim=True).expand_as(x) for name, x in other.items()},
    "mean-position": lambda other: {name: x.mean(0, keepdim=True).expand_as(x) for name, x in other.items()},
}


@pytest.mark.parametrize("name", THREE)
def test_the_reference_is_the_model(name):
    model = small(name)
    with torch.no_grad():
        assert off(Split(model).run(CLEAN)[0], model.hf(CLEAN).logits[:, -1]) < 1e-5


@pytest.mark.parametrize("name", THREE)
def test_eap(name):
    got = attribute(small(name), PAIRS, method="eap", replicates=0)
    assert off(got.values, edge_scores(small(name), CLEAN, CORRUPTED, logit_gap)) < 1e-5
    assert np.abs(got.values).max() > 1e-2


@pytest.mark.parametrize("name", THREE)
def test_eap_ig(name):
    want = edge_scores(small(name), CLEAN, CORRUPTED, logit_gap, alphas=(1 / 3, 2 / 3, 1))
    assert off(attribute(small(name), PAIRS, steps=3, rule="right", replicates=0).values, want) < 1e-5


@pytest.mark.parametrize("name", THREE)
def test_clean_corrupted(name):
    want = edge_scores(small(name), CLEAN, CORRUPTED, logit_gap, alphas=(1.0, 0.0))
    assert off(attribute(small(name), PAIRS, method="clean-corrupted", replicates=0).values, want) < 1e-5


@pytest.mark.parametrize("kind", ABLATED)
@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_ablations(name, kind):
    """Means are over every token, each node's own: not the last token's, not divided by length, not one for all."""
    want = edge_scores(small(name), CLEAN, CORRUPTED, logit_gap, alphas=(0.5, 1.0), ablated=ABLATED[kind])
    got = attribute(small(name), PAIRS, steps=2, rule="right", ablation=kind, replicates=0)
    assert off(got.values, want) < 1e-5


@pytest.mark.parametrize("name", THREE)
def test_exact_is_one_run_per_edge(name):
    model = small(name)
    graph = Graph.of(model)
    edges = [graph.edge(*place) for place in np.argwhere(graph.legal).tolist()][::3]
    got = exact(model, PAIRS, edges=edges, replicates=0)
    want = edge_effects(model, CLEAN, CORRUPTED, logit_gap, edges)
    assert off([got[e] for e in edges], want) < 2e-5
    assert np.isnan(got.values[graph.legal]).sum() == graph.n_edges - len(edges)


@pytest.mark.parametrize("kind", ["resample", "mean"])
@pytest.mark.parametrize("name", THREE)
def test_circuits(name, kind):
    model, rng = small(name), np.random.default_rng(1)
    graph = Graph.of(model)
    masks = [graph.legal & (rng.random(graph.legal.shape) < share) for share in (0.2, 0.6)]
    got = run_circuits(model, PAIRS, [Circuit(graph, m) for m in masks], ablation=kind)
    for value, mask in zip(got, masks, strict=True):
        want = circuit_metric(model, CLEAN, CORRUPTED, logit_gap, mask, ABLATED.get(kind))
        assert off(value, want) < 2e-5

"""Planted circuits are found, saturated attention or not, and redundancy is told from need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp import testbeds
from interp.circuits import Circuit, Graph, attribute, completeness, evaluate, exact, load_pairs, minimality, verify
from interp.circuits.evaluation import against_truth
from interp.errors import BedError
from interp.models import load_model

METHODS: dict[str, dict[str, Any]] = {
    "eap": {"method": "eap"},
    "eap-ig": {},
    "eap-ig-act": {"method": "eap-ig-act"},
    "clean-corrupted": {"method": "clean-corrupted"},
    "atp*": {"method": "atp*"},
    "relp": {"method": "relp"},
    "relp-qk": {"method": "relp-qk"},
}


def bed(name, folder=None, limit=None):
    """Model, pairs and names of the true edges."""
    folder = testbeds.path(name) if folder is None else folder
    model = load_model(folder)
    pairs = load_pairs(folder / "pairs.jsonl", model.tokenizer, limit=limit)
    truth = testbeds.truth(name, folder)
    return model, pairs, [e.name for e in truth.edges if e.true], truth


def auroc(scores, true, truth):
    """Over the edges that the truth speaks of."""
    from interp.stats import auc

    strength = np.array([abs(scores[e.name]) for e in truth.edges])
    return float(auc(strength, [e.name in true for e in truth.edges]))


@pytest.mark.parametrize("name", ["induction", "and_gate", "fraction"])
def test_unsaturated_circuits_are_found_by_every_method(name):
    model, pairs, true, truth = bed(name, limit=16)
    for method, kwargs in METHODS.items():
        scores = attribute(model, pairs, replicates=0, **kwargs)
        if (name, method) == ("induction", "relp"):  # holds patterns, so that the true edge into the keys scores 0
            assert scores["a0.h0->a1.h0<k>"] == 0
            assert 0.75 < auroc(scores, true, truth) < 1
            continue
        assert auroc(scores, true, truth) == 1.0
        assert against_truth(scores, true) == {"auroc": 1.0, "auprc": 1.0}
    found = exact(model, pairs, edges=true, replicates=0)
    scale = found.origin.clean - found.origin.ablated
    effects = {e.name: e.effect for e in truth.edges}
    assert all(abs(found[e] / scale) == pytest.approx(effects[e], abs=0.12) for e in true)


def test_dropping_layers_loses_what_needs_both_layers_of_two():
    """Known limit: with two layers every drop cuts a composed path, so that GradDrop cannot see it."""
    model, pairs, true, truth = bed("induction", limit=6)
    scores = attribute(model, pairs, method="atp*", grad_drop=True, replicates=0)
    assert (scores.values >= 0).all()
    assert auroc(scores, true, truth) < 1.0


def test_an_or_gate_hides_from_the_gradient_and_from_single_edges_but_not_from_the_integral():
    model, pairs, true, truth = bed("or_gate", limit=16)
    plain, integral = (attribute(model, pairs, method=m, replicates=0) for m in ("eap", "eap-ig"))
    alone = exact(model, pairs, replicates=0)
    for edge in truth.redundant[0]:
        assert abs(plain[edge]) < 1e-3
        assert abs(alone[edge]) < 1e-3
        assert integral[edge] > 1
    assert against_truth(integral, true)["auroc"] == 1.0
    assert against_truth(plain, true)["auroc"] < 0.9


def test_completeness_tells_a_backup():
    model, pairs, true, _ = bed("or_gate", limit=16)
    graph = Graph.of(model)
    both = Circuit.of(graph, true)
    one = Circuit.of(graph, [e for e in true if "h1" not in e])
    for circuit, complete in ((both, True), (one, False)):
        report = completeness(model, pairs, circuit, random=3)
        assert report.meta["faithfulness"] == pytest.approx(1, abs=1e-3)
        assert report.meta["complete"] is complete
    assert "Not complete: without" in report.headline
    assert minimality(model, pairs, both).meta["needed"] == pytest.approx(1 / 5)


def test_every_edge_of_an_and_gate_is_needed():
    model, pairs, true, _ = bed("and_gate", limit=16)
    circuit = Circuit.of(Graph.of(model), true)
    assert minimality(model, pairs, circuit).meta["needed"] == 1.0
    assert completeness(model, pairs, circuit, random=3).meta["complete"]


def test_the_curve_of_the_induction_circuit():
    model, pairs, true, _ = bed("induction", limit=24)
    scores = attribute(model, pairs.select(slice(0, 12)))
    report = evaluate(model, pairs.select(slice(12, 24)), scores, sizes=[2, 4, 20, 110], truth=true, random=2)
    row = {r["n_edges"]: r for r in report.rows}
    assert row[4]["faithfulness"] == pytest.approx(1, abs=1e-3)
    assert row[4]["complement"] == pytest.approx(0, abs=1e-3)
    assert row[2]["faithfulness"] < 0.6
    assert row[4]["random_max"] < 0.5
    assert row[110]["faithfulness"] == pytest.approx(1, abs=1e-6)
    assert report.meta["auroc"] == 1.0
    assert report.meta["cmd"]["value"] < 0.02
    assert report.headline.startswith("4 of 110 edges keep 100 %")
    assert not any("found on the pairs" in w for w in report.warnings)
    on_its_own = evaluate(model, pairs.select(slice(0, 12)), scores, sizes=[4], random=0)
    assert any("found on the pairs" in w for w in on_its_own.warnings)


def test_estimates_are_verified():
    model, pairs, true, _ = bed("induction", limit=8)
    good = verify(model, pairs, attribute(model, pairs, replicates=0), top=4, sample=20)
    assert good.meta["pearson"] > 0.5
    assert good.meta["sign_agreement"] == 1.0
    assert (good.meta["missed"], good.meta["missed_hi"]) == (0, pytest.approx(1 - 0.05 ** (1 / 20)))
    # Scores that say nothing: true edges are below the top, and are found missing.
    from dataclasses import replace

    scores = attribute(model, pairs, replicates=0)
    blind = replace(scores, values=np.where(np.abs(scores.values) > 1, 0.0, scores.values))
    bad = verify(model, pairs, blind, top=4, sample=106)
    assert bad.meta["missed"] == len(true)


@pytest.mark.parametrize("name", ["and_gate", "or_gate", "fraction"])
def test_shipped_beds_are_what_building_makes(tmp_path, name):
    made, shipped = testbeds.build(name, tmp_path / "bed"), testbeds.path(name)
    assert sorted(p.name for p in made.iterdir()) == sorted(p.name for p in shipped.iterdir())
    for file in made.iterdir():
        assert file.read_bytes() == (shipped / file.name).read_bytes(), file.name
    truth = testbeds.truth(name)
    assert all(e.why for e in truth.edges)
    assert max(e.effect for e in truth.edges if not e.true) == 0


def test_beds_refuse_what_they_do_not_know(tmp_path):
    with pytest.raises(BedError, match="or_gate has no options, got beta"):
        testbeds.build("or_gate", tmp_path / "bed", beta=2)
    (tmp_path / "truth.json").write_text("{}")
    with pytest.raises(BedError, match="truth of a hand-written circuit"):
        testbeds.truth("fraction", tmp_path)


def test_the_page_tells_the_truth_of_the_beds():
    """The table of true edges in docs/methods/edge-attribution.md, and its counts of false ones."""
    page = (Path(__file__).parents[2] / "docs" / "methods" / "edge-attribution.md").read_text()
    for name in ("induction", "or_gate", "and_gate", "fraction"):
        edges = testbeds.truth(name).edges
        for edge in edges:
            if edge.true:
                assert f"| {name} | `{edge.name}` | {edge.effect:.3f} | {edge.why} |" in page
        told = re.findall(rf"^\| {name} \| (\d+) \|", page, re.MULTILINE)
        assert sum(map(int, told)) == sum(not e.true for e in edges)
        assert max(e.effect for e in edges if not e.true) == 0

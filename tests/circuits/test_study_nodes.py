"""The study at the levels of nodes and neurons: planted truth, exact checks against another way, refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from interp.circuits.attribution import attribute
from interp.circuits.export import save_mib_nodes
from interp.circuits.graph import Graph
from interp.circuits.kept import run_kept
from interp.circuits.nodeset import NodeSet, set_of
from interp.circuits.patching import exact
from interp.circuits.scores import NodeScores
from interp.circuits.select import top_nodes
from interp.circuits.study import CircuitStudy, circuit_study
from interp.cli.circuit import write_circuit
from interp.errors import CircuitError
from interp.report import Report
from interp.run import capture
from tests.circuits.conftest import off, random_pairs, small
from tests.circuits.test_study import copying


@pytest.fixture(scope="module")
def study(induction) -> CircuitStudy:
    return circuit_study(
        induction, copying(16), level="node", top=2, check=4, sample=40, shuffles=1, replicates=20, command="interp"
    )  # fmt: skip


def test_the_planted_nodes_are_found_and_judged(study):
    assert isinstance(study.circuit, NodeSet)
    assert set(study.circuit.names) == {"input", "a1.h0"}
    rows = {row["claim"].split(" (")[0]: row for row in study.summary.rows}
    assert rows["2 nodes keep the behaviour"]["value"] == pytest.approx(1.0, abs=0.05)
    assert rows["2 nodes keep the behaviour"]["verdict"] == "faithful"
    assert rows["The same nodes are chosen from resampled pairs"]["value"] == 1.0
    assert rows["Nodes below the top 4 that matter after all"]["value"] == 0.0
    assert study.reports["verification"].meta["every"]  # seven are left, and all are measured
    assert all(row["null"] and row["verdict"] for row in rows.values())
    assert "minimality" not in study.reports
    searches = {row["search"]: row for row in study.reports["circuit-null"].rows}
    assert searches["random nodes"]["faithfulness"] < 0.9
    assert "on 8 held-out pairs 2 of 11 nodes keep 100 % of the logit difference" in study.summary.headline


def test_every_node_is_a_row_and_the_chosen_are_marked(study):
    report = study.reports["circuit-nodes"]
    assert len(report.rows) == len(study.scores.graph.sources)
    assert [row["node"] for row in report.rows if row["chosen"]] == ["input", "a1.h0"]
    head = next(row for row in report.rows if row["node"] == "a1.h0")
    assert (head["kind"], head["layer"], head["head"], head["sure"]) == ("head", 1, 0, True)
    assert report.headline.startswith("2 of 11 nodes: 1 heads, 0 MLPs and the input")


def test_nodes_are_written_read_back_and_drawn(study, tmp_path):
    page = write_circuit(study, tmp_path).read_text("utf-8")
    files = {path.name for path in tmp_path.iterdir()}
    assert {"circuit-nodes.svg", "circuit-nodes-2.pdf", "circuit-nodes.csv", "circuit.mib.json"} <= files
    assert "circuit.graphml" not in files
    assert "Heads and MLPs" in page
    back = NodeScores.load(tmp_path / "scores.safetensors")
    assert back["a1.h0"] == study.scores["a1.h0"]
    assert top_nodes(back, 2).about["stability"] == study.circuit.about["stability"]
    mib = json.loads((tmp_path / "circuit.mib.json").read_text())
    assert set(mib["nodes"]) == {*study.scores.graph.sources, "logits"}
    assert {name for name, node in mib["nodes"].items() if node["in_graph"]} == {"input", "a1.h0", "logits"}
    assert mib["nodes"]["a1.h0"]["score"] == pytest.approx(study.scores["a1.h0"])
    assert Report.load(tmp_path / "report.json").meta["level"] == "node"


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_ablating_a_node_alone_is_a_set_of_all_the_others(name):
    """Two ways of ablating one node: subtracting what it writes, and a run in which its edges are cut."""
    model, pairs = small(name), random_pairs(3)
    measured = exact(model, pairs, level="node", replicates=0)
    everything = np.ones(measured.values.shape, bool)
    without = [set_of(measured, everything & (np.arange(len(everything)) != i)) for i in range(len(everything))]
    left = run_kept(model, pairs, [set_of(measured, everything), *without]).mean(1)
    assert off(left[0] - left[1:], measured.values) < 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_neurons_left_out_are_ablated_and_nothing_else(name):
    """All neurons are the model, none is zeroed MLP outputs less their bias, and one alone is a change of its row."""
    import torch

    model, pairs = small(name), random_pairs(3)
    graph = Graph.of(model)
    shape = (model.n_layers, model.sizes.d_mlp)
    everything, nothing = np.ones(shape, bool), np.zeros(shape, bool)
    one = everything.copy()
    one[1, 5] = False
    sets = [NodeSet(graph, "neuron", mask) for mask in (everything, nothing, one)]
    whole, none, less = run_kept(model, pairs, sets, ablation="zero")
    full = run_kept(model, pairs, [NodeSet(graph, "node", np.ones(len(graph.sources), bool))])[0]
    assert off(whole, full) < 1e-4
    block = model.hf.transformer.h[1].mlp.c_proj if name == "gpt2" else model.hf.model.layers[1].mlp.down_proj
    weight = block.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        (weight[5] if name == "gpt2" else weight[:, 5]).zero_()
    assert off(run_kept(model, pairs, [sets[0]])[0], less) < 1e-4
    with torch.no_grad():
        weight.copy_(kept)
    assert np.abs(none - whole).max() > 1e-3
    assert np.abs(less - whole).max() > 1e-6


def test_neurons_are_scored_checked_and_held_against_nulls():
    """In a random model scores of neurons are nearly linear, so that estimates must agree with exact ablation."""
    pairs = random_pairs(12, groups=[str(i // 2) for i in range(12)])
    study = circuit_study(
        small("gpt2"), pairs, level="neuron", top=5, check=6, sample=6, shuffles=0, replicates=20, keep="all",
        held_out=False, random=2,
    )  # fmt: skip
    meta = study.reports["verification"].meta
    assert meta["pearson"] > 0.98
    assert meta["sign_agreement"] == 1.0
    rows = study.reports["circuit-neurons"].rows
    assert len(rows) == 5
    assert isinstance(study.scores, NodeScores)
    assert rows[0]["neuron"] == study.scores.name(study.scores.order(1)[0])
    assert [abs(row["score"]) for row in rows] == sorted((abs(row["score"]) for row in rows), reverse=True)
    curve = study.reports["circuit"]
    assert curve.rows[-1]["n_neurons"] == study.scores.values.size
    assert curve.rows[-1]["faithfulness"] == pytest.approx(1.0, abs=1e-4)
    assert {row["search"] for row in study.reports["circuit-null"].rows} == {
        "real pairs", "untrained copy", "random neurons",
    }  # fmt: skip


def test_a_planted_neuron_comes_first():
    """A neuron that is on everywhere is made to write the answer's logit; of all neurons it must be the strongest."""
    import torch

    model, pairs = small("gpt2"), random_pairs(6)
    active = capture(model, pairs.clean, "mlp_post.2", at="last")["mlp_post.2"]
    on = int(np.asarray(active).min(0).argmax())
    c_proj, head = model.hf.transformer.h[2].mlp.c_proj, model.hf.get_output_embeddings().weight
    kept = c_proj.weight.detach().clone()
    with torch.no_grad():
        c_proj.weight[on] = 10 * (head[5] - head[7])
    scores = attribute(model, pairs, level="neuron", ablation="zero", replicates=0)
    with torch.no_grad():
        c_proj.weight.copy_(kept)
    assert isinstance(scores, NodeScores)
    assert scores.rows(1)[0]["neuron"] == f"m2.n{on}"
    assert scores[f"m2.n{on}"] == scores.values[2, on] > 0


def test_what_does_not_fit_is_refused(induction, study, tmp_path):
    pairs = copying(4)
    with pytest.raises(CircuitError, match="12 nodes in a graph of 11"):
        circuit_study(induction, pairs, level="node", top=12)
    with pytest.raises(CircuitError, match="'greedy' for edges"):
        circuit_study(induction, pairs, level="node", select="greedy")
    with pytest.raises(CircuitError, match="no node of these scores"):
        study.scores["m0.n3"]
    same = replace(pairs, corrupted=pairs.clean)
    with pytest.raises(CircuitError, match="'resample' changes nothing; use 'mean'"):
        circuit_study(induction, same, top=2)
    neurons = NodeScores(
        study.scores.graph, "neuron", np.ones((2, 3)), study.scores.origin, study.scores.provenance
    )  # fmt: skip
    with pytest.raises(CircuitError, match="no MLP neurons"):
        save_mib_nodes(neurons, study.circuit, tmp_path / "x.json", d_model=4)
    with pytest.raises(CircuitError, match="all of edges, all of nodes"):
        run_kept(induction, pairs, [])

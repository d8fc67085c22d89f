"""Circuits for other tools: the benchmark's JSON by its own schema, and GraphML that networkx reads back."""

from __future__ import annotations

import json
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest

from interp.circuits.circuit import Circuit
from interp.circuits.edgerows import edge_report
from interp.circuits.export import save_graphml, save_mib, to_mib, to_networkx
from interp.circuits.graph import Graph
from interp.circuits.scores import EdgeScores, Origin
from interp.circuits.select import top_edges
from interp.errors import CircuitError
from interp.provenance import Provenance

PLAIN = Graph(2, 4, 4, (False, False))
GROUPED = Graph(2, 4, 2, (False, False))


def made_up(graph: Graph, seed: int = 0, spans: tuple[str, ...] = ()) -> EdgeScores:
    rng = np.random.default_rng(seed)
    values = np.where(graph.legal, rng.normal(size=graph.legal.shape), 0.0)
    parts = rng.dirichlet(np.ones(len(spans) ** 2), graph.legal.shape) if spans else None
    by_span = (
        None if parts is None else parts.transpose(2, 0, 1).reshape(len(spans), len(spans), *values.shape) * values
    )
    return EdgeScores(
        graph, values, Origin("eap", "logit_diff", "resample", 2.0, -1.0, 10), Provenance("a1", "tiny"), "absolute",
        values - 0.5, values + 0.5, spans=spans, by_span=by_span,
    )  # fmt: skip


def schema_edges(cfg: dict) -> set[str]:
    """Every edge name of the benchmark's graph for a configuration, by its own rule."""
    stream, found = ["input"], set()
    for layer in range(cfg["n_layers"]):
        heads = [f"a{layer}.h{h}" for h in range(cfg["n_heads"])]
        found |= {f"{s}->{h}<{part}>" for s in stream for h in heads for part in "qkv"}
        before = stream if cfg["parallel_attn_mlp"] else [*stream, *heads]
        found |= {f"{s}->m{layer}" for s in before}
        stream = [*stream, *heads, f"m{layer}"]
    return found | {f"{s}->logits" for s in stream}


@pytest.mark.parametrize("graph", [PLAIN, GROUPED, Graph(2, 4, 4, (True, True))], ids=["plain", "grouped", "parallel"])
def test_json_has_exactly_the_schemas_edges_and_nodes(graph, tmp_path):
    scores = made_up(graph)
    circuit = top_edges(scores, 9)
    found = json.loads(save_mib(scores, circuit, tmp_path / "c.json", d_model=16).read_text())
    assert set(found) == {"cfg", "nodes", "edges"}
    assert found["cfg"] == {
        "n_layers": 2, "n_heads": 4, "parallel_attn_mlp": graph.parallel[0], "d_model": 16
    }  # fmt: skip
    assert set(found["edges"]) == schema_edges(found["cfg"])
    assert set(found["nodes"]) == {*graph.sources, "logits"}
    assert all(set(edge) == {"score", "in_graph"} for edge in found["edges"].values())
    assert found["nodes"]["logits"] == {"in_graph": True}
    assert sum(e["score"] for e in found["edges"].values()) == pytest.approx(scores.values.sum())
    if graph.n_kv_heads == graph.n_heads:
        chosen = {name for name, edge in found["edges"].items() if edge["in_graph"]}
        assert chosen == set(circuit.names)
        assert all(found["edges"][name]["score"] == pytest.approx(scores[name]) for name in found["edges"])


def test_a_shared_key_is_told_for_each_of_its_heads():
    scores = made_up(GROUPED)
    found = to_mib(scores, Circuit.of(GROUPED, ["m0->a1.kv1<k>"]), d_model=16)["edges"]
    for name in ("m0->a1.h2<k>", "m0->a1.h3<k>"):
        assert found[name] == {"score": pytest.approx(scores["m0->a1.kv1<k>"] / 2), "in_graph": True}
    assert sum(edge["in_graph"] for edge in found.values()) == 2


def test_every_head_with_a_key_of_its_own_needs_no_splitting():
    """``expand_kv`` scores have the benchmark's own edges, so that nothing is shared out."""
    scores = made_up(replace(GROUPED, expand_kv=True))
    found = to_mib(scores, top_edges(scores, 5), d_model=16)["edges"]
    assert set(found) == {scores.graph.edge(*place) for place in np.argwhere(scores.graph.legal).tolist()}
    assert all(edge["score"] == pytest.approx(scores[name]) for name, edge in found.items())


def test_nodes_off_every_path_are_not_in_the_benchmarks_circuit():
    circuit = Circuit.of(PLAIN, ["input->a0.h1<v>", "a0.h1->logits", "m0->a1.h0<q>"])
    nodes = to_mib(made_up(PLAIN), circuit, d_model=16)["nodes"]
    assert {name for name, node in nodes.items() if node["in_graph"]} == {"input", "a0.h1", "logits"}


def test_json_refuses_what_the_schema_cannot_say():
    scores = made_up(PLAIN)
    values = scores.values.copy()
    values[0, 0] = np.nan
    holed = replace(scores, values=values)
    with pytest.raises(CircuitError, match="1 edges have no score"):
        to_mib(holed, Circuit.of(PLAIN, []), d_model=16)
    mixed = Graph(2, 4, 4, (True, False))
    with pytest.raises(CircuitError, match="parallel"):
        to_mib(made_up(mixed), Circuit.of(mixed, []), d_model=16)
    with pytest.raises(CircuitError, match="another graph"):
        to_mib(scores, Circuit.of(GROUPED, []), d_model=16)


@pytest.mark.parametrize("graph", [PLAIN, GROUPED], ids=["plain", "grouped"])
def test_graphml_comes_back_with_every_number(graph, tmp_path):
    scores = made_up(graph)
    circuit = top_edges(scores, 12)
    back = nx.read_graphml(save_graphml(scores, circuit, tmp_path / "c.graphml"), force_multigraph=True)
    real = [(a, b, about) for a, b, about in back.edges(data=True) if about["part"] != "group"]
    assert len(real) == 12
    for source, target, about in real:
        suffix = f"<{about['part']}>" if about["part"] in "qkv" else ""
        place = graph.place(f"{source}->{target}{suffix}")
        assert circuit.mask[place]
        assert about["score"] == pytest.approx(scores.values[place])
        assert about["score_lo"] == pytest.approx(scores.values[place] - 0.5)
    kinds = {name: about["kind"] for name, about in back.nodes(data=True)}
    assert kinds.get("input", "input") == "input"
    assert all(kind == "mlp" for name, kind in kinds.items() if name.startswith("m"))
    assert nx.is_directed_acyclic_graph(back)


def test_a_groups_key_leads_on_to_its_heads():
    found = to_networkx(made_up(GROUPED), Circuit.of(GROUPED, ["input->a0.kv1<k>", "a0.h3->logits"]))
    assert nx.has_path(found, "input", "logits")
    assert found.nodes["a0.kv1"] == {"kind": "kv", "layer": 0, "head": 1}


def test_rows_of_a_circuit_say_what_is_sure_and_on_a_path():
    scores = made_up(PLAIN)
    circuit = Circuit.of(PLAIN, ["input->a0.h1<v>", "a0.h1->logits", "m0->a1.h0<q>"])
    report = edge_report(scores, circuit)
    rows = {row["edge"]: row for row in report.rows}
    assert set(rows) == set(circuit.names)
    assert [abs(r["score"]) for r in report.rows] == sorted((abs(r["score"]) for r in report.rows), reverse=True)
    for row in rows.values():
        assert row["sure"] is (abs(row["score"]) > 0.5)
    assert [rows[name]["on_path"] for name in circuit.names] == [True, False, True]
    assert report.meta["on_path"] == 2
    assert "1 of 3 edges are on no path" in report.warnings[0]


def test_rows_by_span_sum_to_the_edge():
    scores = made_up(PLAIN, spans=("subject", "rest"))
    report = edge_report(scores, top_edges(scores, 5))
    for edge in {row["edge"] for row in report.rows}:
        parts = [row["score"] for row in report.rows if row["edge"] == edge]
        assert len(parts) == 4
        assert sum(parts) == pytest.approx(scores[edge])

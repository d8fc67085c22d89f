"""Experts as sources: what each adds by hand, sums that must stay what they were, and exact effects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from interp import capture, forward
from interp.circuits import (
    Circuit,
    Graph,
    attribute,
    edge_report,
    evaluate,
    exact,
    fit_optimal,
    run_circuits,
    save_mib,
    top_edges,
)
from interp.circuits.export import to_networkx
from interp.edits import Edit
from interp.errors import CircuitError, ModelError
from interp.plots.circuit_layout import lay_out
from interp.run.experts import Experts, _tried, experts
from interp.sites import Site
from tests.circuits.conftest import off, random_pairs, small, tokens
from tests.identity.architectures import fresh, shared_model

PAIRS = random_pairs()
MIXTURES = ("mixtral", "qwen3_moe", "gpt_oss")


def stream_and_output(model, layer):
    """What the mixture of a layer reads on the clean prompts (behind its norm), and what the layer's MLP writes."""
    acts = capture(model, PAIRS.clean, f"resid_mid.{layer},mlp_out.{layer}")
    block = model.hf.model.layers[layer]
    with torch.no_grad():
        return block.post_attention_layernorm(acts[f"resid_mid.{layer}"].tensor()), acts[f"mlp_out.{layer}"].tensor()


@pytest.mark.parametrize("name", MIXTURES)
def test_experts_sum_to_their_mlp(name):
    model = shared_model(name)
    for layer, mixture in enumerate(experts(model)):
        read, wrote = stream_and_output(model, layer)
        each = mixture.writes(read)
        assert (len(each), mixture.shared) == (4, False)
        assert off(each.sum(0), wrote) < 1e-5
        chosen = each.abs().amax(-1) > 0
        assert (chosen.sum(0) == 2).all()  # two experts for each token, and nothing from the others


def test_what_an_expert_adds_by_hand():
    model = shared_model("mixtral")
    read, _ = stream_and_output(model, 1)
    mlp = model.hf.model.layers[1].mlp
    with torch.no_grad():
        top, which = functional.softmax(read @ mlp.gate.weight.T, -1).topk(2, -1)
        weights = torch.zeros(len(read), 4).scatter(1, which, top / top.sum(-1, keepdim=True))
        for expert in range(4):
            gate, up = (read @ mlp.experts.gate_up_proj[expert].T).chunk(2, -1)
            out = (functional.silu(gate) * up) @ mlp.experts.down_proj[expert].T
            assert off(experts(model)[1].writes(read)[expert], weights[:, [expert]] * out) < 1e-5


@pytest.mark.parametrize("method", ["eap", "eap-ig", "eap-ig-act"])
@pytest.mark.parametrize("level", ["edge", "node"])
def test_experts_share_their_mlps_score(method, level):
    model = shared_model("mixtral")
    run = {"method": method, "level": level, "steps": 2, "replicates": 0}
    whole, each = attribute(model, PAIRS, **run), attribute(model, PAIRS, experts=True, **run)
    assert each.graph.sources[5:10] == ("m0.e0", "m0.e1", "m0.e2", "m0.e3", "a1.h0")
    assert each.graph.targets == whole.graph.targets
    own = np.array([whole.graph.sources.index(s.split(".e")[0]) for s in each.graph.sources])
    summed = np.zeros_like(whole.values)
    np.add.at(summed, own, each.values)
    assert off(summed, whole.values) < 1e-5
    assert np.abs(each.values[5:9]).max() > 1e-3


@pytest.mark.parametrize("kind", ["zero", "mean", "mean-position"])
def test_ablations_of_experts(kind):
    model = shared_model("qwen3_moe")
    whole, each = (attribute(model, PAIRS, method="eap", ablation=kind, experts=e, replicates=0) for e in (False, True))
    assert off(each.values[5:9].sum(0), whole.values[5]) < 1e-5


def test_exact_effects_and_circuits():
    """An expert's effect is that of taking its change away from the MLP's output, which a plain edit does as well."""
    model = shared_model("mixtral")
    graph = Graph.of(model, experts=True)
    found = exact(model, PAIRS, level="node", experts=True, replicates=0)
    mixture, gaps = experts(model)[1], []
    clean, other = (
        mixture.writes(
            model.hf.model.layers[1].post_attention_layernorm(capture(model, p, "resid_mid.1")["resid_mid.1"].tensor())
        )
        for p in (PAIRS.clean, PAIRS.corrupted)
    )
    n, width = tokens(PAIRS)[0].shape
    for expert in (None, 2):
        away = torch.zeros(n, width, 32) if expert is None else (clean - other)[expert].reshape(n, width, 32).detach()
        edit = Edit(Site("mlp_out", 1), lambda x, where, away=away: x - away[where.example, where.pos])
        logits = forward(model, PAIRS.clean, edits=[edit]).logits
        gaps.append((logits[:, 5] - logits[:, 7]).mean())
    assert found["m1.e2"] == pytest.approx(float(gaps[0] - gaps[1]), abs=2e-5)
    assert abs(found["m1.e2"]) > 1e-3
    masks = [graph.legal.copy() for _ in range(3)]
    masks[1][graph.sources.index("m1.e2")] = False
    masks[2][:] = False
    whole, without, nothing = run_circuits(model, PAIRS, [Circuit(graph, m) for m in masks]).mean(1)
    assert whole - without == pytest.approx(found["m1.e2"], abs=2e-5)
    assert whole == pytest.approx(found.origin.clean, abs=2e-5)
    assert nothing == pytest.approx(found.origin.ablated, abs=2e-5)


def test_a_circuit_that_keeps_experts_together_is_a_circuit_of_mlps():
    """Also where the mixture reads something else than in the clean run, so that its router chooses anew."""
    model = shared_model("qwen3_moe")
    plain, split = Graph.of(model), Graph.of(model, experts=True)
    mask = plain.legal & (np.random.default_rng(0).random(plain.legal.shape) < 0.5)
    own = np.array([plain.sources.index(s.split(".e")[0]) for s in split.sources])
    values = [run_circuits(model, PAIRS, [Circuit(g, m)])[0] for g, m in ((plain, mask), (split, mask[own]))]
    assert off(values[1], values[0]) < 2e-5
    assert off(values[0], run_circuits(model, PAIRS, [Circuit(plain, plain.legal)])[0]) > 1e-2


def test_circuits_of_experts_are_scored_saved_and_pruned(tmp_path):
    model = shared_model("mixtral")
    scores = attribute(model, PAIRS, experts=True, method="eap", replicates=0)
    back = type(scores).load(scores.save(tmp_path / "scores.safetensors"))
    assert back.graph == scores.graph
    report = evaluate(model, PAIRS, scores, sizes=[scores.graph.n_edges], random=0)
    assert report.rows[0]["faithfulness"] == pytest.approx(1, abs=1e-4)
    circuit = Circuit.of(scores.graph, ["input->m0", "m0.e1->logits", "m0.e2->a1.h0<q>", "m1.e0->logits"])
    assert circuit.pruned().names == ("input->m0", "m0.e1->logits")
    drawn = to_networkx(scores, circuit)
    assert drawn.edges["m0", "m0.e1", "expert"]["part"] == "expert"
    assert drawn.nodes["m0.e1"] == {"kind": "mlp", "layer": 0, "expert": "e1"}
    layout = lay_out(edge_report(scores, circuit).rows, scores.graph.to_dict(), [], 600, 10)
    box, whole, head = (layout.nodes[(name, "")] for name in ("m0.e1", "m0", "a1.h0"))
    assert (box.label, whole.label, box.kind) == ("e1", "MLP", "mlp")
    assert box.y == whole.y < head.y
    with pytest.raises(CircuitError, match="experts are told apart, which the schema cannot say"):
        save_mib(scores, top_edges(scores, 3), tmp_path / "x.json", d_model=32)


def test_a_shared_part_is_a_source_of_its_own():
    """A mixture that adds the same dense map for every token beside its experts."""
    model = fresh("mixtral")

    class Beside(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.experts, self.more = inner, inner.experts, torch.nn.Linear(32, 32)

        def forward(self, x):
            return self.inner(x) + self.more(x)

    block = model.hf.model.layers[0]
    read, _ = stream_and_output(model, 0)
    both = Beside(block.mlp)
    with torch.no_grad():
        read = read[None]
        found = _tried(model, 0, both, read, both(read))
        assert found.shared
        assert off(found.writes(read)[-1], both.more(read)) < 1e-5
        with pytest.raises(ModelError, match="something lies between its mixture of experts and the stream"):
            _tried(model, 0, both, read, 2 * both(read))
    assert Experts(both, 4, shared=True).n_nodes == 5
    assert "forward" not in vars(block.mlp.experts)


def test_models_and_levels_without_experts_are_refused():
    with pytest.raises(CircuitError, match="has no mixture of experts"):
        attribute(small("llama"), PAIRS, experts=True)
    with pytest.raises(CircuitError, match="is for edges and nodes, not for level 'neuron'"):
        attribute(shared_model("mixtral"), PAIRS, level="neuron", experts=True)
    constants = fit_optimal(shared_model("mixtral"), random_pairs(2, seed=5), steps=1)
    with pytest.raises(CircuitError, match="do not both tell experts apart"):
        attribute(shared_model("mixtral"), PAIRS, ablation=constants, experts=True, replicates=0)
